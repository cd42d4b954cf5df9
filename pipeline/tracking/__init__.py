"""MLflow runs: the server, one run, and where a run came from."""

from pipeline.tracking.provenance import describe_origin
from pipeline.tracking.run import (
    LONGEST_PARAM,
    METHOD,
    MOST_METRICS,
    MOST_PARAMS,
    RESTORED,
    DataSource,
    Run,
    flatten,
    open_method_run,
    reopen_run,
    start_run,
)
from pipeline.tracking.server import EXPERIMENT, EXPERIMENT_TAGS, find_experiment, find_server, get_client, lock_server

__all__ = [
    "EXPERIMENT",
    "EXPERIMENT_TAGS",
    "LONGEST_PARAM",
    "METHOD",
    "MOST_METRICS",
    "MOST_PARAMS",
    "RESTORED",
    "DataSource",
    "Run",
    "describe_origin",
    "find_experiment",
    "find_server",
    "flatten",
    "get_client",
    "lock_server",
    "open_method_run",
    "reopen_run",
    "start_run",
]
