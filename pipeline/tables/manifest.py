"""The manifest: what a finished table holds."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.runtime.files import write_json
from pipeline.tables import store
from pipeline.tables.store import ShardStore, resolve_address

REJECTS_FILE = "rejects.parquet"

MANIFEST_FILE = "receipt.json"


class TableError(RuntimeError):
    """A table that is missing, unfinished or damaged; the message names the folder and what to run."""


def load_manifest(folder: Path) -> dict[str, Any]:
    """What the finished table says of itself. Raises TableError where it is missing, unfinished or damaged."""
    content, place = require_manifest(folder), find_store(folder)
    there = place.names()
    for entry in content["shards"]:
        if there.get(entry["file"]) != entry["bytes"]:
            raise TableError(describe_damage(folder, place, entry["file"]))
    return content


def describe_damage(folder: Path, place: ShardStore, name: str) -> str:
    stage = peek_manifest(folder).get("stage")
    again = "dvc repro" if place.own else f"dvc repro -f -s {stage}@{folder.name}"
    return f"{place}/{name} is missing or not the file that {folder / MANIFEST_FILE} names: run `{again}`"


def require_manifest(folder: Path) -> dict[str, Any]:
    if not (folder / MANIFEST_FILE).is_file():
        raise TableError(f"{folder} holds no finished table: run `dvc repro`, it continues from what is there")
    return peek_manifest(folder)


def peek_manifest(folder: Path) -> dict[str, Any]:
    """The receipt as it stands; empty where there is none."""
    file = folder / MANIFEST_FILE
    try:
        found = file.stat()
    except FileNotFoundError:
        return {"shards": []}
    return _parse_manifest(file.resolve(), found.st_mtime_ns, found.st_ino)


@lru_cache(maxsize=4)
def _parse_manifest(file: Path, _time: int, _number: int) -> dict[str, Any]:
    return json.loads(file.read_text())


def find_store(folder: Path) -> ShardStore:
    """Where the shards of a table lie: its own folder, unless its receipt names another."""
    return store.open_store(peek_manifest(folder).get("storage") or resolve_address(folder, None))


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    write_json(folder / MANIFEST_FILE, content)
