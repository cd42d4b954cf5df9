"""The MLflow server, its client and the experiment."""

import logging
import os
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path

from filelock import FileLock
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

EXPERIMENT = "icnet"

EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Opens the experiment in the UI's view of trainings."""


def find_server() -> str:
    """The address of the MLflow server; a local one is absolute, so that it means the same in every process."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    file = uri.removeprefix("sqlite:///")
    return uri if file == uri else f"sqlite:///{_find_home() / file}"


def lock_server(uri: str) -> AbstractContextManager:
    """One at a time among the processes that share a local database; a server of its own needs no such lock."""
    file = uri.removeprefix("sqlite:///")
    return nullcontext() if file == uri else FileLock(f"{file}.lock", is_singleton=True)


def _find_home() -> Path:
    return Path(os.environ.get("DVC_ROOT") or ".").resolve()


@lru_cache(maxsize=8)
def get_client(uri: str) -> MlflowClient:
    """The client of a server, whose tables exist from then on."""
    for noisy in ("alembic", "mlflow.store", "mlflow.system_metrics"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    with lock_server(
        uri
    ):  # the first to come makes the database's tables, and two at once break each other's migrations
        made = MlflowClient(uri, uri)
        made.search_registered_models(max_results=1)
    return made


def find_experiment(uri: str) -> str:
    """The id of the experiment on a server; whoever comes first makes it, also of several processes at once."""
    there = get_client(uri)
    found = there.get_experiment_by_name(EXPERIMENT)
    if found is None:
        local = None if os.environ.get("MLFLOW_TRACKING_URI") else (_find_home() / "mlartifacts").as_uri()
        try:
            return there.create_experiment(EXPERIMENT, local, EXPERIMENT_TAGS)
        except MlflowException:
            found = there.get_experiment_by_name(EXPERIMENT)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        there.restore_experiment(found.experiment_id)
    return found.experiment_id
