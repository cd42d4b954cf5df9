"""Environment variables that MLflow reads when it is imported or first used. A value that is already set is kept."""

import os

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0.5",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
}
"""The limits of a request: four attempts of 20 s each and about 8 s of pauses. A server that refuses connections costs
8 s, one that does not answer costs 90 s. MLflow's own limits are 5 minutes and 18 minutes."""


def apply_settings() -> None:
    """Set the variables that are not set yet."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)


apply_settings()
