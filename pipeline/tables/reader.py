"""Read finished tables: whole, shard by shard, or a range of rows."""

from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.runtime import parallel
from pipeline.tables.manifest import (
    REJECTS_FILE,
    TableError,
    describe_damage,
    find_store,
    load_manifest,
    require_manifest,
)
from pipeline.tables.store import ShardStore


def read_table(folder: Path, columns: Iterable[str] | None = None) -> pa.Table:
    """The whole table in the order of (group, name). Raises TableError where it is missing or unfinished."""
    return pa.concat_tables(list(iterate_shards(folder, columns)))


def iterate_shards(folder: Path, columns: Iterable[str] | None = None) -> Iterator[pa.Table]:
    """The rows of one shard after another. Raises TableError where the table is missing, unfinished or damaged."""
    place, wanted = find_store(folder), list(columns) if columns is not None else None
    yield from parallel.map_in_threads(
        lambda entry: _read_shard(folder, place, entry, 0, entry["rows"], wanted), load_manifest(folder)["shards"]
    )


def read_rows(folder: Path, start: int, stop: int, columns: Iterable[str] | None = None) -> pa.Table:
    """Rows `start` to `stop` of the whole table, reading only the row groups that hold them."""
    place, wanted = find_store(folder), list(columns) if columns is not None else None
    parts, before = [], 0
    for entry in require_manifest(folder)["shards"]:
        if before < stop and start < before + entry["rows"]:
            parts.append(_read_shard(folder, place, entry, max(0, start - before), stop - before, wanted))
        before += entry["rows"]
    return pa.concat_tables(parts)


def _read_shard(
    folder: Path, place: ShardStore, entry: dict, start: int, stop: int, columns: list[str] | None
) -> pa.Table:
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
        raise TableError(f"{describe_damage(folder, place, entry['file'])} ({error})") from error
    return found.slice(start - first, stop - start)


def read_rejects(folder: Path) -> pa.Table:
    """A finished table's rejects."""
    require_manifest(folder)
    return pq.read_table(folder / REJECTS_FILE)
