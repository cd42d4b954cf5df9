"""Where the shards of a table lie: in the table's own folder, or below a `storage` URI, a path, s3:// or gs://.

Below a URI a shard is named by its key and by what it holds, `<key>-<digest>.parquet`: a stale one is never taken for
another, the same one is never made twice, and nothing is renamed, as an object store cannot do that.
"""

import hashlib
import os
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa
from pyarrow import fs

from pipeline.runtime.files import write_file

RETRY_ATTEMPTS, PROBE_ATTEMPTS = 13, 9
"""Attempts of a request to S3, twice as far apart each time: they end 200 s after the first, the first request's of a
stage after 13 s, as that may be to a wrong address."""

RETRY_LIMIT = timedelta(seconds=200)
"""How long a request to Google's store is tried again."""

URI_OPTIONS = {"s3": {"endpoint_override", "scheme", "region"}, "gs": {"endpoint_override", "scheme"}}


class StorageError(ValueError):
    """A storage URI that cannot be used; the message says which and why."""


@dataclass(frozen=True)
class ShardStore:
    """A folder of shards, made of its address `where` in every process anew."""

    address: str
    files: fs.FileSystem
    path: str

    @property
    def own(self) -> bool:
        """Whether this is the table's own folder, where a shard is named by its number."""
        return "://" not in self.address

    def names(self) -> dict[str, int]:
        """The Parquet files that are there and their bytes, by one listing."""
        try:
            listed = self.files.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        except OSError as error:
            raise StorageError(f"storage: {self} cannot be listed: {error}") from error
        return {
            info.base_name: info.size
            for info in listed
            if info.is_file and info.extension == "parquet" and not info.base_name.startswith(".")
        }

    def reach(self) -> None:
        """Raises StorageError where the store does not answer or has no such bucket."""
        if isinstance(self.files, fs.LocalFileSystem):
            return
        bucket = self.path.partition("/")[0]
        try:
            found = _open_filesystem(self.address, PROBE_ATTEMPTS).get_file_info(bucket)
        except OSError as error:
            raise StorageError(f"storage: {self}: {error}") from error
        if found.type == fs.FileType.NotFound:
            raise StorageError(f"storage: {self}: there is no bucket {bucket}")

    def open(self, name: str) -> pa.NativeFile:
        """A file to read from anywhere in it."""
        return self.files.open_input_file(f"{self.path}/{name}")

    def write(self, name: str, content: pa.Buffer) -> None:
        """Write a file that is either whole or not there."""
        if isinstance(self.files, fs.LocalFileSystem):
            write_file(Path(self.path) / name, content)
            return
        with self.files.open_output_stream(f"{self.path}/{name}", compression=None) as stream:
            stream.write(content)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        try:
            self.files.delete_file(f"{self.path}/{name}")
        except FileNotFoundError:
            return

    def __str__(self) -> str:
        return self.address.partition("?")[0]


def name_shard(key: str, content: pa.Buffer) -> str:
    """The name, below a storage URI, of a shard with this key and content."""
    return f"{key}-{digest_shard(content)}.parquet"


def digest_shard(content: pa.Buffer) -> str:
    """BLAKE2 of a shard's bytes."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def resolve_address(folder: Path, storage: str | None) -> str:
    """The address of a table's shards: its folder, or its stage's and its own name below the storage URI."""
    if storage is None:
        return str(folder.resolve())
    base, _, query = (storage if "://" in storage else Path(storage).resolve().as_uri()).partition("?")
    address = f"{base.rstrip('/')}/{folder.resolve().parent.name}/{folder.name}" + (f"?{query}" if query else "")
    return address


@lru_cache(maxsize=256)
def open_store(address: str) -> ShardStore:
    """The place at an address: a folder's path, or a URI. Raises StorageError where it is none that can be used.

    AWS_ENDPOINT_URL, or `?endpoint_override=host:port&scheme=http` at the URI's end, names another S3 than Amazon's.
    """
    if "://" not in address:
        return ShardStore(address, fs.LocalFileSystem(), address)
    if address.startswith("file://"):
        return ShardStore(address, *fs.FileSystem.from_uri(address))
    parts = urlsplit(address)
    return ShardStore(address, _open_filesystem(address, RETRY_ATTEMPTS), f"{parts.netloc}{parts.path}")


def _open_filesystem(address: str, attempts: int) -> fs.FileSystem:
    parts = urlsplit(address)
    if parts.scheme not in URI_OPTIONS:
        raise StorageError(f"storage: {address}: expected null, a path, file://, s3:// or gs://")
    if not parts.netloc:
        raise StorageError(f"storage: {address}: no bucket is named")
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    if unknown := sorted(set(options) - URI_OPTIONS[parts.scheme]):
        raise StorageError(f"storage: {address}: unknown option {', '.join(unknown)}")
    if parts.scheme == "gs":
        return fs.GcsFileSystem(retry_time_limit=RETRY_LIMIT, **options)
    if endpoint := os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
        found = urlsplit(endpoint)
        options = {"endpoint_override": found.netloc, "scheme": found.scheme, **options}
    options["retry_strategy"] = fs.AwsDefaultS3RetryStrategy(max_attempts=attempts)
    patience = {"connect_timeout": 10.0, "request_timeout": 60.0}
    return fs.S3FileSystem(**options, **patience, allow_delayed_open=True, background_writes=False)
