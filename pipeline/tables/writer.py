"""Write tables: shards under their keys, then the manifest that makes the table whole."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.runtime import files, parallel
from pipeline.tables import store
from pipeline.tables.keys import fingerprint
from pipeline.tables.manifest import MANIFEST_FILE, REJECTS_FILE, TableError, find_store, peek_manifest, write_manifest
from pipeline.tables.schemas import REJECTS
from pipeline.tables.shards import Shard
from pipeline.tables.store import ShardStore, resolve_address


def write_parquet(table: pa.Table, file: Path, together: int = 64) -> None:
    """Write a Parquet file that is either whole or not there; `together`: rows that are read at once."""
    files.write_file(file, _encode_parquet(table, together))


def _encode_parquet(table: pa.Table, together: int) -> pa.Buffer:
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd", row_group_size=together, write_page_checksum=True)
    return buffer.getvalue()


def write_shard(place: str | Path, shard: Shard, schema: pa.Schema, rows: list[dict], rejects: list[dict]) -> None:
    """Write one shard to the address that `where` gave; its rejects travel in its metadata until the table is done."""
    metadata = {"key": shard.key, "rejects": json.dumps(rejects), "planned": str(len(shard))}
    rows = sorted(rows, key=lambda row: (row["group"], row["name"]))
    content = _encode_parquet(pa.Table.from_pylist(rows, schema=schema.with_metadata(metadata)), 64)
    _store_shard(store.open_store(str(place)), shard, content)


def _store_shard(place: ShardStore, shard: Shard, content: pa.Buffer) -> None:
    place.write(shard.file if place.own else store.name_shard(shard.key, content), content)


def prepare_table(folder: Path, shards: list[Shard], root: str | None = None) -> list[Shard]:
    """Open a table for work: take its receipt away and return the shards still to be made.

    `root`: the `storage` URI; shards that this table has elsewhere, for `root` was another, are copied to it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place, before = store.open_store(resolve_address(folder, root)), find_store(folder)
    place.reach()
    missing = _find_missing(place, shards, folder)
    (folder / MANIFEST_FILE).unlink(missing_ok=True)
    for leftover in folder.glob(".*.part"):
        leftover.unlink(missing_ok=True)
    if before.address == place.address or not missing:
        return missing
    found = _find_present(before, shards, before.names())
    for _ in parallel.map_in_threads(lambda shard: _copy_shard(before, place, shard, found), missing):
        pass
    return [shard for shard in missing if shard not in found]


def _find_missing(place: ShardStore, shards: list[Shard], folder: Path) -> list[Shard]:
    """The shards that are not there; what is not as the table's receipt had it is removed."""
    there = place.names()
    for entry in peek_manifest(folder)["shards"]:
        if there.get(entry["file"], entry["bytes"]) != entry["bytes"]:
            place.remove(entry["file"])
            del there[entry["file"]]
    held = _find_present(place, shards, there)
    return [shard for shard in shards if shard not in held]


def _find_present(place: ShardStore, shards: list[Shard], there: dict[str, int]) -> dict[Shard, str]:
    """The files of the shards that are there: their names tell, or in the table's own folder what each carries."""
    if not place.own:
        by_key = {name.partition("-")[0]: name for name in sorted(there, reverse=True)}
        return {shard: by_key[shard.key] for shard in shards if shard.key in by_key}
    known = [shard for shard in shards if shard.file in there]
    keys = parallel.map_in_threads(lambda shard: _read_metadata(place, shard.file).get("key"), known)
    return {shard: shard.file for shard, key in zip(known, keys, strict=True) if key == shard.key}


def _copy_shard(before: ShardStore, place: ShardStore, shard: Shard, found: dict[Shard, str]) -> None:
    if shard in found:
        with before.open(found[shard]) as content:
            _store_shard(place, shard, content.read_buffer())


def finish_table(
    folder: Path, shards: list[Shard], schema: pa.Schema, root: str | None = None, **facts: Any
) -> "Counts":
    """Check that every planned row is a row or a reject, drop files of older plans, and sign the receipt.

    Raises TableError where a shard is missing or rows were lost.
    """
    place = store.open_store(resolve_address(folder, root))
    if not shards:
        return write_table(folder, schema.empty_table(), [], **facts)
    sizes = place.names()
    held = _find_present(place, shards, sizes)
    for shard in shards:
        if shard not in held:
            raise TableError(f"{place}/{shard.file} was not made by this plan: run the stage again")
    rejects, entries, rows = [], [], 0
    for shard, (count, refused) in zip(
        shards, parallel.map_in_threads(lambda shard: _count_rows(place, held[shard], shard), shards), strict=True
    ):
        rejects += refused
        rows += count
        entries.append({"file": held[shard], "rows": count, "bytes": sizes[held[shard]], "key": shard.key})
    _remove_unlisted(folder, {entry["file"] for entry in entries} if place.own else set())
    write_rejects(rejects, folder)
    lying = {} if place.own else {"storage": place.address}
    write_manifest(folder, {"rows": rows, "rejects": len(rejects), "shards": entries, **lying, **facts})
    return Counts(rows, len(rejects))


def _count_rows(place: ShardStore, name: str, shard: Shard) -> tuple[int, list[dict]]:
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


def _remove_unlisted(folder: Path, expected: set[str]) -> None:
    for stranger in folder.glob("shard-*.parquet"):
        if stranger.name not in expected:
            stranger.unlink()


@dataclass(frozen=True)
class Counts:
    """Images that stand in a table and files that were refused."""

    rows: int
    rejects: int


def write_table(folder: Path, table: pa.Table, rejects: list[dict], **facts: Any) -> Counts:
    """Write a small table in one piece: one shard, its rejects and its receipt."""
    shard = Shard(0, 0, len(table), fingerprint(facts))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST_FILE).unlink(missing_ok=True)
    _remove_unlisted(folder, {shard.file})
    write_parquet(table, folder / shard.file, together=1 << 16)
    write_rejects(rejects, folder)
    size = (folder / shard.file).stat().st_size
    entry = {"file": shard.file, "rows": len(table), "bytes": size, "key": shard.key}
    write_manifest(folder, {"rows": len(table), "rejects": len(rejects), "shards": [entry], **facts})
    return Counts(len(table), len(rejects))


def write_rejects(rejects: list[dict], folder: Path) -> None:
    """Write a table's rejects, sorted by path."""
    rows = sorted(
        ({field: row.get(field) for field in REJECTS.names} for row in rejects),
        key=lambda row: (row["path"] or "", row["reason"] or ""),
    )
    write_parquet(pa.Table.from_pylist(rows, schema=REJECTS), folder / REJECTS_FILE)


def _read_metadata(place: ShardStore, name: str) -> dict[str, str]:
    try:
        with pq.ParquetFile(place.open(name)) as content:
            found = content.schema_arrow.metadata or {}
    except (OSError, pa.ArrowInvalid):
        return {}
    return {key.decode(): value.decode() for key, value in found.items()}
