"""The manifest: what a finished table holds. A table without a manifest is unfinished."""

from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import NotRequired

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from pipeline.runtime.files import write_json
from pipeline.tables.store import ShardStore, open_store, resolve_address

MANIFEST_FILE, REJECTS_FILE = "manifest.json", "rejects.parquet"

OLD_MANIFEST_FILE = "receipt.json"
"""Name of the manifest in version 0.1. Such a table is unfinished: its stage makes it again and removes this file."""

WORK_FOLDER = ".cosal"
"""The folder of `cosal predict` for tables, below its output: they are made by that command, not by stages of DVC."""


class TableError(RuntimeError):
    """A table that is missing, unfinished or damaged; the message names the folder and what to run."""


class ShardEntry(TypedDict):
    """One shard: file name, number of rows, size in bytes, key, and BLAKE2 digest of the bytes."""

    file: str
    rows: int
    bytes: int
    key: str
    digest: str


@with_config(ConfigDict(extra="allow", strict=True))
class Manifest(TypedDict):
    """What a table holds; stages add more facts."""

    rows: int
    rejects: int
    shards: list[ShardEntry]
    storage: NotRequired[str]
    """Address of the shards, if they are not in the folder of the table."""
    stage: NotRequired[str]


def load_manifest(folder: Path) -> Manifest:
    """The manifest of a finished table. Raises TableError if it, or a shard of the right size, is missing."""
    manifest, store = require_manifest(folder), find_store(folder)
    sizes = store.list_files()
    for entry in manifest["shards"]:
        if sizes.get(entry["file"]) != entry["bytes"]:
            raise TableError(describe_damage(folder, entry["file"]))
    return manifest


def require_manifest(folder: Path) -> Manifest:
    """The manifest, without a look at the shards. Raises TableError if there is none that can be read."""
    manifest = read_manifest(folder)
    if manifest is None:
        raise TableError(f"{folder} holds no finished table: {_describe_command(folder, None)}")
    return manifest


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest; None if it is missing, empty, damaged, or of an older format."""
    file = folder / MANIFEST_FILE
    try:
        status = file.stat()
        return _parse_manifest(file.resolve(), status.st_mtime_ns, status.st_ino)
    except (OSError, ValidationError):
        return None


@lru_cache(maxsize=4)
def _parse_manifest(file: Path, _time: int, _inode: int) -> Manifest:
    return TypeAdapter(Manifest).validate_json(file.read_bytes())


def list_first_rows(folder: Path) -> list[int]:
    """The first row of each shard, and at the end the number of all rows. Raises TableError as `require_manifest`."""
    require_manifest(folder)
    file = folder / MANIFEST_FILE
    status = file.stat()
    return _sum_rows(file.resolve(), status.st_mtime_ns, status.st_ino)


@lru_cache(maxsize=4)
def _sum_rows(file: Path, time: int, inode: int) -> list[int]:
    return list(accumulate((entry["rows"] for entry in _parse_manifest(file, time, inode)["shards"]), initial=0))


def list_entries(folder: Path) -> list[ShardEntry]:
    """The shards that the manifest names; none if there is no manifest."""
    manifest = read_manifest(folder)
    return manifest["shards"] if manifest else []


def find_store(folder: Path) -> ShardStore:
    """Where the shards of a table are: in its folder, unless its manifest names another place."""
    manifest = read_manifest(folder)
    storage = manifest.get("storage") if manifest else None
    return open_store(storage or resolve_address(folder, None))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest: the table is finished."""
    write_json(folder / MANIFEST_FILE, manifest)


def describe_damage(folder: Path, name: str) -> str:
    """The sentence for a shard that is missing or damaged: what is wrong, and the command that repairs it."""
    manifest = read_manifest(folder)
    command = _describe_command(folder, manifest.get("stage") if manifest else None)
    return f"{find_store(folder)}/{name} is missing or damaged, or another shard: {command}"


def _describe_command(folder: Path, stage: str | None) -> str:
    if WORK_FOLDER in folder.parts:
        return "run the same `cosal predict` again"
    return f"run `dvc repro -f -s {stage}@{folder.name}`" if stage else "run `dvc repro`, which makes what is missing"
