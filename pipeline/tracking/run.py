"""One MLflow run: parameters, metrics, images, tables, files and datasets."""

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from pipeline.tracking.errors import translate_errors
from pipeline.tracking.server import get_client

MOST_METRICS, MOST_PARAMS, LONGEST_PARAM = 1000, 100, 6000
"""MLflow's limits: metrics and parameters of one request, and characters of a parameter's value."""

LONGEST_KEY = 100
"""Characters of an image's key. MLflow makes it part of a file name, which may have 255 bytes."""

ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""MLflow's error codes for a run that it does not know."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class DataSource:
    """A dataset that a run reads: its name, its address, a digest of its content, and its use."""

    name: str
    source: str
    digest: str
    context: str
    images: int = 0
    groups: int = 0


@dataclass(frozen=True)
class Run:
    """One MLflow run, given by its id and its server. It can be pickled and used in other processes."""

    id: str
    server: str

    def log_metrics(self, values: Mapping[str, float], step: int = 0, model: str | None = None) -> None:
        """Log numbers at a step. `model`: id of a logged model that they belong to as well."""
        now = int(time.time() * 1000)
        self._log_points([Metric(name, float(value), now, step, model_id=model) for name, value in values.items()])

    def log_curves(self, values: Mapping[str, Iterable[float]], start: int = 0) -> None:
        """Log curves. The step of the first value is `start`."""
        now = int(time.time() * 1000)
        self._log_points(
            [Metric(name, float(y), now, x) for name, curve in values.items() for x, y in enumerate(curve, start)]
        )

    def find_last_step(self, name: str) -> int:
        """The last step at which a number was logged, or 0."""
        return max((point.step for point in get_client(self.server).get_metric_history(self.id, name)), default=0)

    def log_params(self, values: Mapping[str, Any]) -> None:
        """Log parameters. Nested ones are named as in params.yaml, `section.key`. MLflow refuses a changed value."""
        flat = [Param(name, str(value)[:LONGEST_PARAM]) for name, value in flatten(values).items()]
        for part in _split_list(flat, MOST_PARAMS):
            get_client(self.server).log_batch(self.id, params=part)

    def set_tags(self, values: Mapping[str, Any]) -> None:
        """Set tags. The new value replaces the old one."""
        tags = [RunTag(name, str(value)) for name, value in values.items()]
        get_client(self.server).log_batch(self.id, tags=tags)

    def log_image(self, picture: np.ndarray, key: str, step: int = 0) -> None:
        """Log a uint8 picture [H, W, 3] or [H, W] for the image grid of MLflow's UI.

        A picture with the same key and step is replaced. `make_image_key` says how the key is changed.
        """
        key = make_image_key(key)
        self._delete_artifacts("images", f"{key.replace('/', '~')}+step+{step}+")
        get_client(self.server).log_image(self.id, picture, key=key, step=step)

    def log_table(self, rows: pd.DataFrame, file: str) -> None:
        """Log a table for MLflow's UI, in place of an older one. The name `file` ends in .json."""
        folder, _, name = file.rpartition("/")
        self._delete_artifacts(folder, name)
        get_client(self.server).log_table(self.id, rows, file)

    def log_file(self, path: Path, folder: str = "") -> None:
        """Copy a file, or the content of a folder, into `folder` of the run's artifacts."""
        if path.is_dir():
            get_client(self.server).log_artifacts(self.id, str(path), folder or None)
        else:
            get_client(self.server).log_artifact(self.id, str(path), folder or None)

    def fetch_file(self, file: str, folder: Path) -> Path | None:
        """Copy an artifact of the run into `folder`. None if there is no such run or artifact.

        Raises TrackingError if the server or its artifact store fails: then nothing is known about the artifact.
        """
        with translate_errors(self.server, "run the stage again when it answers"):
            client = get_client(self.server)
            if find_run(self.id, self.server) is None:
                return None
            parent = file.rpartition("/")[0]
            if file not in [entry.path for entry in client.list_artifacts(self.id, parent or None)]:
                return None
            folder.mkdir(parents=True, exist_ok=True)
            return Path(client.download_artifacts(self.id, file, str(folder)))

    def log_datasets(self, datasets: Iterable[DataSource]) -> None:
        """Log the datasets that the run reads."""
        get_client(self.server).log_inputs(self.id, [_to_input(one) for one in datasets])

    def finish(self, status: str = "FINISHED") -> None:
        """End the run as FINISHED, FAILED or KILLED."""
        get_client(self.server).set_terminated(self.id, status)

    def read_tags(self) -> dict[str, str]:
        """The tags of the run."""
        return dict(get_client(self.server).get_run(self.id).data.tags)

    def _log_points(self, points: list[Metric]) -> None:
        for part in _split_list(points, MOST_METRICS):
            get_client(self.server).log_batch(self.id, metrics=part)

    def _delete_artifacts(self, folder: str, prefix: str) -> None:
        client = get_client(self.server)
        old = [file.path for file in client.list_artifacts(self.id, folder or None)]
        old = [path for path in old if path.rpartition("/")[2].startswith(prefix)]
        if old:
            store = get_artifact_repository(client.get_run(self.id).info.artifact_uri, self.server)
            for path in old:
                store.delete_artifacts(path)


def find_run(run_id: str, server: str) -> Run | None:
    """The run with this id, or None if the server does not have it or it was deleted."""
    try:
        found = get_client(server).get_run(run_id)
    except MlflowException as error:
        if error.error_code in ABSENT:
            return None
        raise
    return Run(run_id, server) if found.info.lifecycle_stage == "active" else None


def make_image_key(key: str) -> str:
    """`key` with `_` for each character that MLflow refuses, and at most LONGEST_KEY characters long.

    A changed key ends in a digest of the original, so that different keys stay different.
    """
    safe = "".join(c if (c.isascii() and c.isalnum()) or c in "_-./ " else "_" for c in key)
    if safe == key and len(key) <= LONGEST_KEY:
        return key
    digest = hashlib.blake2b(key.encode(errors="surrogatepass"), digest_size=4).hexdigest()
    return f"{safe[: LONGEST_KEY - len(digest) - 1]}-{digest}"


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _split_list(items: list[Item], most: int) -> list[list[Item]]:
    return [items[start : start + most] for start in range(0, len(items), most)]


def _to_input(data: DataSource) -> DatasetInput:
    profile = json.dumps({"images": data.images, "groups": data.groups})
    source = json.dumps({"uri": data.source})
    entity = Dataset(data.name, data.digest[:36], "local", source, profile=profile)
    return DatasetInput(entity, [InputTag("mlflow.data.context", data.context)])
