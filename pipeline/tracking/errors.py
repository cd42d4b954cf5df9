"""Errors of the MLflow server, as one sentence."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.exceptions import MlflowException
from requests.exceptions import RequestException
from sqlalchemy.exc import SQLAlchemyError

SERVER_ERRORS = (MlflowException, RequestException, SQLAlchemyError)
"""What MLflow's client raises if the server or its database fails. An artifact store may also raise OSError."""

MAX_LENGTH = 300
"""Characters of an error that a message repeats."""

_PASSWORD = re.compile(r"(?<=://)(?:[^:/@\s]*:[^@\s]*|[^/@\s]*)@")  # databases allow a "/" in a password


class TrackingError(RuntimeError):
    """MLflow does not answer, or refuses. The message names the server and says what to do."""


def hide_password(text: str) -> str:
    """`text` without the user names and passwords in its URLs."""
    return _PASSWORD.sub("", text)


@contextmanager
def translate_errors(server: str, advice: str) -> Iterator[None]:
    """Raise the errors of MLflow's client inside this block as a TrackingError that ends with `advice`."""
    try:
        yield
    except (*SERVER_ERRORS, OSError) as error:
        raise TrackingError(f"MLflow at {hide_password(server)} failed ({describe_error(error)}): {advice}") from error


def describe_error(error: BaseException) -> str:
    """The first line of an error, without passwords."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    text = hide_password(lines[0])
    return text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]}..."
