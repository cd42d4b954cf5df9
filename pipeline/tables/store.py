"""Where the shards of a table are: in the folder of the table, or below a `storage` URI (a path, s3:// or gs://).

Below a URI a shard is named by its key and its content, `<key>-<digest>.parquet`. So an outdated shard is never taken
for another, the same shard is never made twice, and nothing is renamed, which object stores cannot do.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, urlsplit

import pyarrow as pa
from pyarrow import fs

from pipeline.runtime.files import write_file
from pipeline.tables import filesystems
from pipeline.tables.filesystems import StorageError, open_filesystem
from pipeline.tables.shards import Shard

CHUNK_SIZE = 4 << 20
"""Bytes that are read at once to compute a digest."""


@dataclass(frozen=True)
class ShardStore:
    """A folder of shards. Only its `address` travels between processes; each opens the store for itself."""

    address: str
    files: fs.FileSystem
    path: str

    @property
    def in_table_folder(self) -> bool:
        """Whether this is the folder of the table. There a shard is named by its number."""
        return "://" not in self.address

    def list_files(self) -> dict[str, int]:
        """The Parquet files by name, with their sizes in bytes, by one listing. Raises StorageError."""
        try:
            listed = self.files.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        except OSError as error:
            raise StorageError(f"storage: {self} cannot be listed: {error}") from error
        return {
            info.base_name: info.size
            for info in listed
            if info.is_file and info.extension == "parquet" and not info.base_name.startswith((".", "rejects"))
        }

    def check_access(self) -> None:
        """Raises StorageError if the store does not answer or has no such bucket."""
        if isinstance(self.files, fs.LocalFileSystem):
            return
        bucket = self.path.partition("/")[0]
        try:
            found = open_filesystem(self.address, filesystems.PROBE_ATTEMPTS).get_file_info(bucket)
        except OSError as error:
            raise StorageError(f"storage: {self}: {error}") from error
        if found.type == fs.FileType.NotFound:
            raise StorageError(f"storage: {self}: there is no bucket {bucket}")

    def open_file(self, name: str) -> pa.NativeFile:
        """A file, opened for reads at any position."""
        return self.files.open_input_file(f"{self.path}/{name}")

    def digest_file(self, name: str) -> str:
        """BLAKE2 digest of the bytes of a file. Raises OSError."""
        digest = hashlib.blake2b(digest_size=16)
        with self.open_file(name) as content:
            while chunk := content.read(CHUNK_SIZE):
                digest.update(chunk)
        return digest.hexdigest()

    def write_file(self, name: str, content: pa.Buffer) -> None:
        """Write a file that is either whole or not there."""
        if isinstance(self.files, fs.LocalFileSystem):
            write_file(Path(self.path) / name, content)
            return
        with self.files.open_output_stream(f"{self.path}/{name}", compression=None) as stream:
            stream.write(content)

    def write_shard(self, shard: Shard, content: pa.Buffer) -> None:
        """Write a shard under its name in this store."""
        self.write_file(shard.file if self.in_table_folder else name_shard(shard.key, content), content)

    def remove_file(self, name: str) -> None:
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


def parse_shard_name(name: str) -> tuple[str, str]:
    """Key and digest in a name that `name_shard` made."""
    key, _, digest = name.removesuffix(".parquet").partition("-")
    return key, digest


def digest_shard(content: pa.Buffer) -> str:
    """BLAKE2 digest of the bytes of a shard."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def resolve_address(folder: Path, storage: str | None) -> str:
    """The address of a table's shards: its folder, or `<stage folder>/<name>` below the storage URI."""
    if storage is None:
        return str(folder.resolve())
    base, _, query = (storage if "://" in storage else Path(storage).resolve().as_uri()).partition("?")
    names = [folder.resolve().parent.name, folder.name]
    if base.startswith("file://"):
        names = [quote(name) for name in names]
    return "/".join([base.rstrip("/"), *names]) + (f"?{query}" if query else "")


@lru_cache(maxsize=256)
def open_store(address: str) -> ShardStore:
    """The store at an address: the path of a folder, or a URI. Raises StorageError if it cannot be used.

    AWS_ENDPOINT_URL, or `?endpoint_override=host:port&scheme=http` at the end of the URI, names an S3 that is not
    Amazon's.
    """
    if "://" not in address:
        return ShardStore(address, fs.LocalFileSystem(), address)
    if address.startswith("file://"):
        return ShardStore(address, *fs.FileSystem.from_uri(address))
    parts = urlsplit(address)
    return ShardStore(address, open_filesystem(address), f"{parts.netloc}{parts.path}")
