"""MLflow runs: the server, one run, and where a run came from."""

# MLflow reads its settings when it is imported, so they come first.
from pipeline.tracking import settings  # noqa: F401
from pipeline.tracking.errors import TrackingError, describe_error, hide_password, translate_errors
from pipeline.tracking.provenance import describe_origin
from pipeline.tracking.run import (
    LONGEST_KEY,
    LONGEST_PARAM,
    MOST_METRICS,
    MOST_PARAMS,
    DataSource,
    Run,
    find_run,
    flatten,
    make_image_key,
)
from pipeline.tracking.server import EXPERIMENT, EXPERIMENT_TAGS, find_experiment, find_server, get_client, lock_server
from pipeline.tracking.session import METHOD, RESTORED, open_method_run, reopen_run, start_run
from pipeline.tracking.views import View, link_runs, save_view

__all__ = [
    "EXPERIMENT",
    "EXPERIMENT_TAGS",
    "LONGEST_KEY",
    "LONGEST_PARAM",
    "METHOD",
    "MOST_METRICS",
    "MOST_PARAMS",
    "RESTORED",
    "DataSource",
    "Run",
    "TrackingError",
    "View",
    "describe_error",
    "describe_origin",
    "find_experiment",
    "find_run",
    "find_server",
    "flatten",
    "get_client",
    "hide_password",
    "link_runs",
    "lock_server",
    "make_image_key",
    "open_method_run",
    "reopen_run",
    "save_view",
    "start_run",
    "translate_errors",
]
