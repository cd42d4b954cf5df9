"""One MLflow run: parameters, metrics, pictures, tables and inputs."""

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from pipeline.tracking.provenance import describe_origin
from pipeline.tracking.server import find_experiment, find_server, get_client, lock_server

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

RESTORED, METHOD = "icnet.restored_from", "icnet.method"

MOST_METRICS, MOST_PARAMS, LONGEST_PARAM = 1000, 100, 6000
"""What MLflow takes in one request, and characters of one value."""


@dataclass(frozen=True)
class DataSource:
    """A dataset that a run reads: its name, where it lies, a digest of what was read and what it is used for."""

    name: str
    source: str
    digest: str
    context: str
    images: int = 0
    groups: int = 0


@dataclass(frozen=True)
class Run:
    """One MLflow run, addressed by its id on a server; nothing but an address, so it may travel to other processes."""

    id: str
    server: str

    def log_metrics(self, values: Mapping[str, float], step: int = 0, model: str | None = None) -> None:
        """Log numbers at a step; `model`, the id of a logged model, ties them to it as well."""
        now = int(time.time() * 1000)
        points = [Metric(name, float(value), now, step, model_id=model) for name, value in values.items()]
        for part in _split_list(points, MOST_METRICS):
            get_client(self.server).log_batch(self.id, metrics=part)

    def log_curves(self, values: Mapping[str, Iterable[float]], start: int = 0) -> None:
        """Log curves: each value at the step of its place, counted from `start`."""
        now = int(time.time() * 1000)
        points = [Metric(name, float(y), now, x) for name, curve in values.items() for x, y in enumerate(curve, start)]
        for part in _split_list(points, MOST_METRICS):
            get_client(self.server).log_batch(self.id, metrics=part)

    def find_last_step(self, name: str) -> int:
        """The last step that a number was logged at; 0 where it never was."""
        return max((point.step for point in get_client(self.server).get_metric_history(self.id, name)), default=0)

    def log_params(self, values: Mapping[str, Any]) -> None:
        """Log parameters; nested ones are named as in params.yaml, `section.key`. MLflow refuses a changed value."""
        flat = [Param(name, str(value)[:LONGEST_PARAM]) for name, value in flatten(values).items()]
        for part in _split_list(flat, MOST_PARAMS):
            get_client(self.server).log_batch(self.id, params=part)

    def set_tags(self, values: Mapping[str, Any]) -> None:
        """Set tags; a tag set again takes the new value."""
        tags = [RunTag(name, str(value)) for name, value in values.items()]
        get_client(self.server).log_batch(self.id, tags=tags)

    def log_image(self, picture: np.ndarray, key: str, step: int = 0) -> None:
        """Log a uint8 picture [H, W, 3] or [H, W] that the UI's image grid compares across runs and steps.

        A picture of the same key and step is replaced. Characters that MLflow does not take in keys become `_`.
        """
        key = "".join(c if (c.isascii() and c.isalnum()) or c in "_-./ " else "_" for c in key)
        self._delete_artifacts("images", f"{key.replace('/', '~')}+step+{step}+")
        get_client(self.server).log_image(self.id, picture, key=key, step=step)

    def log_table(self, rows: pd.DataFrame, file: str) -> None:
        """Log a table (`file` ends in .json) that the UI shows; one logged under the same name is replaced."""
        folder, _, name = file.rpartition("/")
        self._delete_artifacts(folder, name)
        get_client(self.server).log_table(self.id, rows, file)

    def log_file(self, path: Path, folder: str = "") -> None:
        """Copy a file, or what a folder holds, into `folder` of the run's artifacts."""
        if path.is_dir():
            get_client(self.server).log_artifacts(self.id, str(path), folder or None)
        else:
            get_client(self.server).log_artifact(self.id, str(path), folder or None)

    def fetch_file(self, file: str, folder: Path) -> Path | None:
        """Copy an artifact of the run into `folder`; None where the run or the file is not there."""
        try:
            return Path(get_client(self.server).download_artifacts(self.id, file, str(folder)))
        except (MlflowException, OSError):
            return None

    def log_datasets(self, datasets: Iterable[DataSource]) -> None:
        """Log dataset inputs, each with its digest."""
        get_client(self.server).log_inputs(self.id, [_to_input(one) for one in datasets])

    def finish(self, status: str = "FINISHED") -> None:
        """End the run as FINISHED, FAILED or KILLED."""
        get_client(self.server).set_terminated(self.id, status)

    def _delete_artifacts(self, folder: str, prefix: str) -> None:
        there = get_client(self.server)
        old = [file.path for file in there.list_artifacts(self.id, folder or None)]
        old = [path for path in old if path.rpartition("/")[2].startswith(prefix)]
        if old:
            store = get_artifact_repository(there.get_run(self.id).info.artifact_uri, self.server)
            for path in old:
                store.delete_artifacts(path)


@contextmanager
def start_run(
    name: str,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    datasets: Sequence[DataSource] = (),
    resume: str | None = None,
    system_metrics: bool = False,
) -> Iterator[Run]:
    """Open a run, named as the DVC experiment where it is one, or go on with the run `resume` where the server knows
    it; it ends as FINISHED, FAILED or KILLED."""
    run = (_find_run(resume) if resume else None) or _create_run(os.environ.get("DVC_EXP_NAME") or name)
    get_client(run.server).update_run(run.id, status="RUNNING")
    run.set_tags({**describe_origin(), **(tags or {})})
    run.log_params(params or {})
    run.log_datasets(datasets)
    monitor = SystemMetricsMonitor(run.id, resume_logging=True, tracking_uri=run.server) if system_metrics else None
    if monitor:
        monitor.start()
    status = "FAILED"
    try:
        yield run
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        if monitor:
            monitor.finish()
        with nullcontext() if status == "FINISHED" else suppress(Exception):  # what went wrong before says more
            run.finish(status)


def reopen_run(run_id: str | None, name: str = "restored") -> Run:
    """The run of a training, for a later stage to add to.

    Where this server does not know it (the model came from a DVC cache or another machine), a run tagged
    `icnet.restored_from` stands in for it: the same one for every later stage.
    """
    found = _find_run(run_id) if run_id else None
    return found or _find_tagged_run(name, RESTORED, run_id or "unknown")


def open_method_run(name: str) -> Run:
    """The run that holds the scores of a method that is not trained here: one for each name."""
    return _find_tagged_run(name, METHOD, name)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _split_list(items: list, most: int) -> list[list]:
    return [items[start : start + most] for start in range(0, len(items), most)]


def _create_run(name: str) -> Run:
    uri = find_server()
    return Run(get_client(uri).create_run(find_experiment(uri), run_name=name).info.run_id, uri)


def _find_tagged_run(name: str, tag: str, value: str) -> Run:
    """The oldest run that carries a tag, made where there is none."""
    uri, value = find_server(), value.replace("'", "_")
    place = find_experiment(uri)
    with lock_server(uri):
        order = ["attributes.start_time ASC"]
        runs = get_client(uri).search_runs([place], f"tags.`{tag}` = '{value}'", order_by=order, max_results=1)
        if runs:
            return Run(runs[0].info.run_id, uri)
        run = _create_run(name)
        run.set_tags({**describe_origin(), tag: value})
        run.finish()
    return run


def _find_run(run_id: str) -> Run | None:
    uri = find_server()
    try:
        found = get_client(uri).get_run(run_id)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
    return Run(run_id, uri) if found.info.lifecycle_stage == "active" else None


def _to_input(data: DataSource) -> DatasetInput:
    profile = json.dumps({"images": data.images, "groups": data.groups})
    source = json.dumps({"uri": data.source})
    entity = Dataset(data.name, data.digest[:36], "local", source, profile=profile)
    return DatasetInput(entity, [InputTag("mlflow.data.context", data.context)])
