"""What a run leaves in MLflow: parameters, metrics, pictures, tables, inputs. The only module that knows MLflow's runs.

The server is the one that MLFLOW_TRACKING_URI names, else `mlflow.db` beside `mlartifacts/` in the repository's root
(from a temporary checkout of `dvc exp run` too). A `Run` is a handle that can be pickled: any process may log to it.
"""

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import numpy as np
import pandas as pd
from filelock import FileLock
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.tracking import MlflowClient

EXPERIMENT = "icnet"
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Opens the experiment in the UI's view of trainings."""
RESTORED, METHOD = "icnet.restored_from", "icnet.method"
MOST_METRICS, MOST_PARAMS, LONGEST_PARAM = 1000, 100, 6000
"""What MLflow takes in one request, and characters of one value."""


@dataclass(frozen=True)
class Data:
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

    def metrics(self, values: Mapping[str, float], step: int = 0, model: str | None = None) -> None:
        """Log numbers at a step; `model`, the id of a logged model, ties them to it as well."""
        now = int(time.time() * 1000)
        points = [Metric(name, float(value), now, step, model_id=model) for name, value in values.items()]
        for part in _parts(points, MOST_METRICS):
            client(self.server).log_batch(self.id, metrics=part)

    def curves(self, values: Mapping[str, Iterable[float]], start: int = 0) -> None:
        """Log curves: each value at the step of its place, counted from `start`."""
        now = int(time.time() * 1000)
        points = [Metric(name, float(y), now, x) for name, curve in values.items() for x, y in enumerate(curve, start)]
        for part in _parts(points, MOST_METRICS):
            client(self.server).log_batch(self.id, metrics=part)

    def last(self, name: str) -> int:
        """The last step that a number was logged at; 0 where it never was."""
        return max((point.step for point in client(self.server).get_metric_history(self.id, name)), default=0)

    def params(self, values: Mapping[str, Any]) -> None:
        """Log parameters; nested ones are named as in params.yaml, `section.key`. MLflow refuses a changed value."""
        flat = [Param(name, str(value)[:LONGEST_PARAM]) for name, value in flatten(values).items()]
        for part in _parts(flat, MOST_PARAMS):
            client(self.server).log_batch(self.id, params=part)

    def tags(self, values: Mapping[str, Any]) -> None:
        """Set tags; a tag set again takes the new value."""
        tags = [RunTag(name, str(value)) for name, value in values.items()]
        client(self.server).log_batch(self.id, tags=tags)

    def image(self, picture: np.ndarray, key: str, step: int = 0) -> None:
        """Log a uint8 picture [H, W, 3] or [H, W] that the UI's image grid compares across runs and steps.

        A picture of the same key and step is replaced. Characters that MLflow does not take in keys become `_`.
        """
        key = "".join(c if (c.isascii() and c.isalnum()) or c in "_-./ " else "_" for c in key)
        self._forget("images", f"{key.replace('/', '~')}+step+{step}+")
        client(self.server).log_image(self.id, picture, key=key, step=step)

    def table(self, rows: pd.DataFrame, file: str) -> None:
        """Log a table (`file` ends in .json) that the UI shows; one logged under the same name is replaced."""
        folder, _, name = file.rpartition("/")
        self._forget(folder, name)
        client(self.server).log_table(self.id, rows, file)

    def file(self, path: Path, folder: str = "") -> None:
        """Copy a file, or what a folder holds, into `folder` of the run's artifacts."""
        if path.is_dir():
            client(self.server).log_artifacts(self.id, str(path), folder or None)
        else:
            client(self.server).log_artifact(self.id, str(path), folder or None)

    def fetch(self, file: str, folder: Path) -> Path | None:
        """Copy an artifact of the run into `folder`; None where the run or the file is not there."""
        try:
            return Path(client(self.server).download_artifacts(self.id, file, str(folder)))
        except (MlflowException, OSError):
            return None

    def data(self, datasets: Iterable[Data]) -> None:
        """Log dataset inputs, each with its digest."""
        client(self.server).log_inputs(self.id, [_input(one) for one in datasets])

    def finish(self, status: str = "FINISHED") -> None:
        """End the run as FINISHED, FAILED or KILLED."""
        client(self.server).set_terminated(self.id, status)

    def _forget(self, folder: str, prefix: str) -> None:
        there = client(self.server)
        old = [file.path for file in there.list_artifacts(self.id, folder or None)]
        old = [path for path in old if path.rpartition("/")[2].startswith(prefix)]
        if old:
            store = get_artifact_repository(there.get_run(self.id).info.artifact_uri, self.server)
            for path in old:
                store.delete_artifacts(path)


def server() -> str:
    """The address of the MLflow server; a local one is absolute, so that it means the same in every process."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    file = uri.removeprefix("sqlite:///")
    return uri if file == uri else f"sqlite:///{_home() / file}"


def lock(uri: str) -> AbstractContextManager:
    """One at a time among the processes that share a local database; a server of its own needs no such lock."""
    file = uri.removeprefix("sqlite:///")
    return nullcontext() if file == uri else FileLock(f"{file}.lock", is_singleton=True)


@contextmanager
def start(
    name: str,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    datasets: Sequence[Data] = (),
    resume: str | None = None,
    system_metrics: bool = False,
) -> Iterator[Run]:
    """Open a run, named as the DVC experiment where it is one, or go on with the run `resume` where the server knows
    it; it ends as FINISHED, FAILED or KILLED."""
    run = (_find(resume) if resume else None) or _create(os.environ.get("DVC_EXP_NAME") or name)
    client(run.server).update_run(run.id, status="RUNNING")
    run.tags({**_origin(), **(tags or {})})
    run.params(params or {})
    run.data(datasets)
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


def reopen(run_id: str | None, name: str = "restored") -> Run:
    """The run of a training, for a later stage to add to.

    Where this server does not know it (the model came from a DVC cache or another machine), a run tagged
    `icnet.restored_from` stands in for it: the same one for every later stage.
    """
    found = _find(run_id) if run_id else None
    return found or _standing(name, RESTORED, run_id or "unknown")


def method(name: str) -> Run:
    """The run that holds the scores of a method that is not trained here: one for each name."""
    return _standing(name, METHOD, name)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _parts(items: list, most: int) -> list[list]:
    return [items[start : start + most] for start in range(0, len(items), most)]


def _home() -> Path:
    return Path(os.environ.get("DVC_ROOT") or ".").resolve()


@lru_cache(maxsize=8)
def client(uri: str) -> MlflowClient:
    """The client of a server, whose tables exist from then on."""
    for noisy in ("alembic", "mlflow.store", "mlflow.system_metrics"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    with lock(uri):  # the first to come makes the database's tables, and two at once break each other's migrations
        made = MlflowClient(uri, uri)
        made.search_registered_models(max_results=1)
    return made


def experiment(uri: str) -> str:
    """The id of the experiment on a server; whoever comes first makes it, also of several processes at once."""
    there = client(uri)
    found = there.get_experiment_by_name(EXPERIMENT)
    if found is None:
        local = None if os.environ.get("MLFLOW_TRACKING_URI") else (_home() / "mlartifacts").as_uri()
        try:
            return there.create_experiment(EXPERIMENT, local, KIND)
        except MlflowException:
            found = there.get_experiment_by_name(EXPERIMENT)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        there.restore_experiment(found.experiment_id)
    return found.experiment_id


def _create(name: str) -> Run:
    uri = server()
    return Run(client(uri).create_run(experiment(uri), run_name=name).info.run_id, uri)


def _standing(name: str, tag: str, value: str) -> Run:
    """The oldest run that carries a tag, made where there is none."""
    uri, value = server(), value.replace("'", "_")
    place = experiment(uri)
    with lock(uri):
        order = ["attributes.start_time ASC"]
        runs = client(uri).search_runs([place], f"tags.`{tag}` = '{value}'", order_by=order, max_results=1)
        if runs:
            return Run(runs[0].info.run_id, uri)
        run = _create(name)
        run.tags({**_origin(), tag: value})
        run.finish()
    return run


def _find(run_id: str) -> Run | None:
    uri = server()
    try:
        found = client(uri).get_run(run_id)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
    return Run(run_id, uri) if found.info.lifecycle_stage == "active" else None


def _origin() -> dict[str, str]:
    """The git commit and the DVC experiment that this process runs in."""
    tags = {"mlflow.source.name": os.environ.get("DVC_STAGE") or Path(sys.argv[0]).stem, "mlflow.source.type": "LOCAL"}
    commit = _git("rev-parse", "HEAD")
    if commit:
        tags |= {"mlflow.source.git.commit": commit, "git.dirty": str(bool(_git("status", "--porcelain"))).lower()}
    names = [name for name in ("DVC_EXP_NAME", "DVC_EXP_BASELINE_REV") if os.environ.get(name)]
    tags |= {name.lower().replace("_", ".", 1): os.environ[name] for name in names}
    lock = Path("dvc.lock")
    if lock.is_file():
        tags["dvc.lock.md5"] = hashlib.md5(lock.read_bytes(), usedforsecurity=False).hexdigest()
    return tags


def _git(*arguments: str) -> str:
    if shutil.which("git") is None:
        return ""
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False).stdout.strip()


def _input(data: Data) -> DatasetInput:
    profile = json.dumps({"images": data.images, "groups": data.groups})
    source = json.dumps({"uri": data.source})
    entity = Dataset(data.name, data.digest[:36], "local", source, profile=profile)
    return DatasetInput(entity, [InputTag("mlflow.data.context", data.context)])
