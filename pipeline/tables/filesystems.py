"""File systems behind a `storage` URI: a shared disk, S3 or Google's store."""

import os
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pyarrow import fs

RETRY_ATTEMPTS, PROBE_ATTEMPTS = 13, 9
"""Attempts of a request to S3; the time between them doubles. The last one is 200 s after the first, or 13 s for the
first request of a stage, as that may go to a wrong address."""

RETRY_LIMIT = timedelta(seconds=200)
"""How long a request to Google's store is repeated."""

URI_OPTIONS = {"s3": {"endpoint_override", "scheme", "region"}, "gs": {"endpoint_override", "scheme"}}
"""Options that may follow `?` in a URI."""


class StorageError(ValueError):
    """A storage URI that cannot be used; the message names it and the reason."""


def open_filesystem(address: str, attempts: int = RETRY_ATTEMPTS) -> fs.FileSystem:
    """The client for an s3:// or gs:// address. Raises StorageError if the address is none."""
    parts, shown = urlsplit(address), address.partition("?")[0]
    if "@" in parts.netloc:
        raise StorageError("storage: a URI must not hold a user or a password: set AWS_ACCESS_KEY_ID on the machines")
    if parts.scheme not in URI_OPTIONS:
        raise StorageError(f"storage: {shown}: expected null, a path, file://, s3:// or gs://")
    if not parts.netloc:
        raise StorageError(f"storage: {shown}: no bucket is named")
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    if unknown := sorted(set(options) - URI_OPTIONS[parts.scheme]):
        raise StorageError(f"storage: {shown}: unknown option {', '.join(unknown)}")
    if parts.scheme == "gs":
        return fs.GcsFileSystem(retry_time_limit=RETRY_LIMIT, **options)
    if endpoint := os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
        found = urlsplit(endpoint)
        options = {"endpoint_override": found.netloc, "scheme": found.scheme, **options}
    options["retry_strategy"] = fs.AwsDefaultS3RetryStrategy(max_attempts=attempts)
    timeouts = {"connect_timeout": 10.0, "request_timeout": 60.0}
    return fs.S3FileSystem(**options, **timeouts, allow_delayed_open=True, background_writes=False)
