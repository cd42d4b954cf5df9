"""The MLflow server: its address, its client, and the experiment on it."""

import logging
import os
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from filelock import FileLock
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

EXPERIMENT = "icnet"

EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Makes MLflow's UI open the experiment in its view for model training."""

SQLITE = "sqlite:///"

QUIET_LOGGERS = ("alembic", "mlflow.store", "mlflow.system_metrics", "urllib3.connectionpool")


def find_server() -> str:
    """The address of the MLflow server, without user and password.

    It is MLFLOW_TRACKING_URI, or a database in the repository. A path is made absolute, so that it is the same in
    every process.
    """
    _move_credentials()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}mlflow.db"
    file = uri.removeprefix(SQLITE)
    return uri if file == uri else f"{SQLITE}{_find_home() / file}"


def _move_credentials() -> None:
    """Move user and password from MLFLOW_TRACKING_URI to MLflow's variables for them, so that nothing prints them.

    This applies to servers. The address of a database keeps its password, and messages hide it.
    """
    parts = urlsplit(os.environ.get("MLFLOW_TRACKING_URI", ""))
    if parts.scheme not in ("http", "https") or "@" not in parts.netloc:
        return
    credentials, _, host = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(user), unquote(password)
    os.environ["MLFLOW_TRACKING_URI"] = urlunsplit(parts._replace(netloc=host))


def lock_server(uri: str) -> AbstractContextManager[object]:
    """A lock for the processes that share a local database. A server needs none."""
    file = uri.removeprefix(SQLITE)
    return nullcontext() if file == uri else FileLock(f"{file}.lock", is_singleton=True)


def _find_home() -> Path:
    return Path(os.environ.get("DVC_ROOT") or ".").resolve()


@lru_cache(maxsize=8)
def get_client(uri: str) -> MlflowClient:
    """The client of a server. The tables of a database are created first."""
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    with lock_server(uri):  # two processes that migrate a new database at once break it
        client = MlflowClient(uri, uri)
        client.search_registered_models(max_results=1)
    return client


def find_experiment(uri: str) -> str:
    """The id of the experiment on a server. It is created if needed, also by several processes at once."""
    client = get_client(uri)
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        local = None if os.environ.get("MLFLOW_TRACKING_URI") else (_find_home() / "mlartifacts").as_uri()
        try:
            created: str = client.create_experiment(EXPERIMENT, local, EXPERIMENT_TAGS)
            return created
        except MlflowException:  # another process was first
            found = client.get_experiment_by_name(EXPERIMENT)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)
