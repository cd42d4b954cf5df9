"""The tables that stages exchange: their shards, and the receipt that makes a table whole.

A table is a folder of Parquet shards, sorted by (group, name), beside `rejects.parquet` and `receipt.json`; the shards
may lie below a `storage` URI instead, which the receipt then names. Each shard carries the key of the work that made
it, so a rerun keeps the shards whose key still fits and makes only the others. The receipt is written last: without
it the table does not count as finished.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.schemas import INDEX, KEY, MAPS, REJECTS, SAMPLES
from pipeline.shards import Shard, fingerprint, plan
from pipeline.storage import Place, where

__all__ = ["INDEX", "KEY", "MAPS", "REJECTS", "SAMPLES", "Shard", "fingerprint", "plan", "where"]

REJECTS_FILE = "rejects.parquet"
RECEIPT_FILE = "receipt.json"


class TableError(RuntimeError):
    """A table that is missing, unfinished or damaged; the message names the folder and what to run."""


def write_atomically(table: pa.Table, file: Path, together: int = 64) -> None:
    """Write a Parquet file that is either whole or not there; `together`: rows that are read at once."""
    storage.replace(file, _packed(table, together))


def _packed(table: pa.Table, together: int) -> pa.Buffer:
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd", row_group_size=together, write_page_checksum=True)
    return buffer.getvalue()


def write_shard(place: str | Path, shard: Shard, schema: pa.Schema, rows: list[dict], rejects: list[dict]) -> None:
    """Write one shard to the address that `where` gave; its rejects travel in its metadata until the table is done."""
    metadata = {"key": shard.key, "rejects": json.dumps(rejects), "planned": str(len(shard))}
    rows = sorted(rows, key=lambda row: (row["group"], row["name"]))
    content = _packed(pa.Table.from_pylist(rows, schema=schema.with_metadata(metadata)), 64)
    _put(storage.find(str(place)), shard, content)


def _put(place: Place, shard: Shard, content: pa.Buffer) -> None:
    place.write(shard.file if place.own else storage.name(shard.key, content), content)


def begin(folder: Path, shards: list[Shard], root: str | None = None) -> list[Shard]:
    """Open a table for work: take its receipt away and return the shards still to be made.

    `root`: the `storage` URI; shards that this table has elsewhere, for `root` was another, are copied to it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place, before = storage.find(where(folder, root)), place_of(folder)
    place.reach()
    missing = _missing(place, shards, folder)
    (folder / RECEIPT_FILE).unlink(missing_ok=True)
    for leftover in folder.glob(".*.part"):
        leftover.unlink(missing_ok=True)
    if before.where == place.where or not missing:
        return missing
    found = _held(before, shards, before.names())
    for _ in storage.each(lambda shard: _copy(before, place, shard, found), missing):
        pass
    return [shard for shard in missing if shard not in found]


def _missing(place: Place, shards: list[Shard], folder: Path) -> list[Shard]:
    """The shards that are not there; what is not as the table's receipt had it is removed."""
    there = place.names()
    for entry in signature(folder)["shards"]:
        if there.get(entry["file"], entry["bytes"]) != entry["bytes"]:
            place.remove(entry["file"])
            del there[entry["file"]]
    held = _held(place, shards, there)
    return [shard for shard in shards if shard not in held]


def _held(place: Place, shards: list[Shard], there: dict[str, int]) -> dict[Shard, str]:
    """The files of the shards that are there: their names tell, or in the table's own folder what each carries."""
    if not place.own:
        by_key = {name.partition("-")[0]: name for name in sorted(there, reverse=True)}
        return {shard: by_key[shard.key] for shard in shards if shard.key in by_key}
    known = [shard for shard in shards if shard.file in there]
    keys = storage.each(lambda shard: _metadata(place, shard.file).get("key"), known)
    return {shard: shard.file for shard, key in zip(known, keys, strict=True) if key == shard.key}


def _copy(before: Place, place: Place, shard: Shard, found: dict[Shard, str]) -> None:
    if shard in found:
        with before.open(found[shard]) as content:
            _put(place, shard, content.read_buffer())


def finish(folder: Path, shards: list[Shard], schema: pa.Schema, root: str | None = None, **facts: Any) -> "Counts":
    """Check that every planned row is a row or a reject, drop files of older plans, and sign the receipt.

    Raises TableError where a shard is missing or rows were lost.
    """
    place = storage.find(where(folder, root))
    if not shards:
        return write_whole(folder, schema.empty_table(), [], **facts)
    sizes = place.names()
    held = _held(place, shards, sizes)
    for shard in shards:
        if shard not in held:
            raise TableError(f"{place}/{shard.file} was not made by this plan: run the stage again")
    rejects, entries, rows = [], [], 0
    for shard, (count, refused) in zip(
        shards, storage.each(lambda shard: _counted(place, held[shard], shard), shards), strict=True
    ):
        rejects += refused
        rows += count
        entries.append({"file": held[shard], "rows": count, "bytes": sizes[held[shard]], "key": shard.key})
    _drop_strangers(folder, {entry["file"] for entry in entries} if place.own else set())
    write_rejects(rejects, folder)
    lying = {} if place.own else {"storage": place.where}
    _sign(folder, {"rows": rows, "rejects": len(rejects), "shards": entries, **lying, **facts})
    return Counts(rows, len(rejects))


def _counted(place: Place, name: str, shard: Shard) -> tuple[int, list[dict]]:
    """Rows and rejects of one shard. Raises TableError where rows were lost, or it cannot be read: it is removed."""
    try:
        with pq.ParquetFile(place.open(name)) as content:
            count, refused = content.metadata.num_rows, json.loads(content.metadata.metadata[b"rejects"])
    except pa.ArrowException as error:
        place.remove(name)
        raise TableError(f"{place}/{name} was damaged ({error}) and is removed: run the stage again") from error
    if count + len({(row["group"], row["name"]) for row in refused}) != len(shard):
        raise TableError(f"{place}/{name} holds {count} rows and {len(refused)} rejects of {len(shard)} planned images")
    return count, refused


def _drop_strangers(folder: Path, expected: set[str]) -> None:
    for stranger in folder.glob("shard-*.parquet"):
        if stranger.name not in expected:
            stranger.unlink()


@dataclass(frozen=True)
class Counts:
    """Images that stand in a table and files that were refused."""

    rows: int
    rejects: int


def write_whole(folder: Path, table: pa.Table, rejects: list[dict], **facts: Any) -> Counts:
    """Write a small table in one piece: one shard, its rejects and its receipt."""
    shard = Shard(0, 0, len(table), fingerprint(facts))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECEIPT_FILE).unlink(missing_ok=True)
    _drop_strangers(folder, {shard.file})
    write_atomically(table, folder / shard.file, together=1 << 16)
    write_rejects(rejects, folder)
    size = (folder / shard.file).stat().st_size
    entry = {"file": shard.file, "rows": len(table), "bytes": size, "key": shard.key}
    _sign(folder, {"rows": len(table), "rejects": len(rejects), "shards": [entry], **facts})
    return Counts(len(table), len(rejects))


def write_rejects(rejects: list[dict], folder: Path) -> None:
    """Write a table's rejects, sorted by path."""
    rows = sorted(
        ({field: row.get(field) for field in REJECTS.names} for row in rejects),
        key=lambda row: (row["path"] or "", row["reason"] or ""),
    )
    write_atomically(pa.Table.from_pylist(rows, schema=REJECTS), folder / REJECTS_FILE)


def read(folder: Path, columns: Iterable[str] | None = None) -> pa.Table:
    """The whole table in the order of (group, name). Raises TableError where it is missing or unfinished."""
    return pa.concat_tables(list(each(folder, columns)))


def each(folder: Path, columns: Iterable[str] | None = None) -> Iterator[pa.Table]:
    """The rows of one shard after another. Raises TableError where the table is missing, unfinished or damaged."""
    place, wanted = place_of(folder), list(columns) if columns is not None else None
    yield from storage.each(
        lambda entry: _rows(folder, place, entry, 0, entry["rows"], wanted), receipt(folder)["shards"]
    )


def read_rows(folder: Path, start: int, stop: int, columns: Iterable[str] | None = None) -> pa.Table:
    """Rows `start` to `stop` of the whole table, reading only the row groups that hold them."""
    place, wanted = place_of(folder), list(columns) if columns is not None else None
    parts, before = [], 0
    for entry in _finished(folder)["shards"]:
        if before < stop and start < before + entry["rows"]:
            parts.append(_rows(folder, place, entry, max(0, start - before), stop - before, wanted))
        before += entry["rows"]
    return pa.concat_tables(parts)


def _rows(folder: Path, place: Place, entry: dict, start: int, stop: int, columns: list[str] | None) -> pa.Table:
    """Rows of one shard. Raises TableError where it is not the one that the receipt names, or damaged."""
    try:
        with pq.ParquetFile(
            place.open(entry["file"]), pre_buffer=not place.own, page_checksum_verification=True
        ) as content:
            if (content.metadata.metadata or {}).get(b"key", entry["key"].encode()) != entry["key"].encode():
                raise OSError("it is another shard")
            sizes = [content.metadata.row_group(number).num_rows for number in range(content.num_row_groups)]
            ends = list(accumulate(sizes))
            held = [number for number, end in enumerate(ends) if end > start and end - sizes[number] < stop]
            first = ends[held[0]] - sizes[held[0]] if held else 0
            found = content.read_row_groups(held, columns=columns).replace_schema_metadata()
    except (OSError, pa.ArrowException) as error:
        raise TableError(f"{_damaged(folder, place, entry['file'])} ({error})") from error
    return found.slice(start - first, stop - start)


def read_rejects(folder: Path) -> pa.Table:
    """A finished table's rejects."""
    _finished(folder)
    return pq.read_table(folder / REJECTS_FILE)


def receipt(folder: Path) -> dict[str, Any]:
    """What the finished table says of itself. Raises TableError where it is missing, unfinished or damaged."""
    content, place = _finished(folder), place_of(folder)
    there = place.names()
    for entry in content["shards"]:
        if there.get(entry["file"]) != entry["bytes"]:
            raise TableError(_damaged(folder, place, entry["file"]))
    return content


def _damaged(folder: Path, place: Place, name: str) -> str:
    stage = signature(folder).get("stage")
    again = "dvc repro" if place.own else f"dvc repro -f -s {stage}@{folder.name}"
    return f"{place}/{name} is missing or not the file that {folder / RECEIPT_FILE} names: run `{again}`"


def _finished(folder: Path) -> dict[str, Any]:
    if not (folder / RECEIPT_FILE).is_file():
        raise TableError(f"{folder} holds no finished table: run `dvc repro`, it continues from what is there")
    return signature(folder)


def signature(folder: Path) -> dict[str, Any]:
    """The receipt as it stands; empty where there is none."""
    file = folder / RECEIPT_FILE
    try:
        found = file.stat()
    except FileNotFoundError:
        return {"shards": []}
    return _parsed(file.resolve(), found.st_mtime_ns, found.st_ino)


@lru_cache(maxsize=4)
def _parsed(file: Path, _time: int, _number: int) -> dict[str, Any]:
    return json.loads(file.read_text())


def place_of(folder: Path) -> Place:
    """Where the shards of a table lie: its own folder, unless its receipt names another."""
    return storage.find(signature(folder).get("storage") or where(folder, None))


def _sign(folder: Path, content: dict[str, Any]) -> None:
    write_json(folder / RECEIPT_FILE, content)


def write_json(file: Path, content: Any) -> None:
    """Write JSON that is either whole or not there."""
    storage.replace(file, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def _metadata(place: Place, name: str) -> dict[str, str]:
    try:
        with pq.ParquetFile(place.open(name)) as content:
            found = content.schema_arrow.metadata or {}
    except (OSError, pa.ArrowInvalid):
        return {}
    return {key.decode(): value.decode() for key, value in found.items()}
