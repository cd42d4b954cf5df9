"""Read finished tables: whole, shard by shard, or a range of rows."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate, groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.runtime import parallel
from pipeline.tables.manifest import (
    REJECTS_FILE,
    ShardEntry,
    TableError,
    describe_damage,
    find_store,
    list_first_rows,
    load_manifest,
    require_manifest,
)
from pipeline.tables.store import ShardStore

ROWS_READ_TOGETHER = 64


def read_table(folder: Path, columns: Iterable[str] | None = None) -> pa.Table:
    """The whole table in the order of (group, name). Raises TableError if it is missing, unfinished or damaged."""
    return pa.concat_tables(list(iterate_shards(folder, columns)))


def iterate_shards(folder: Path, columns: Iterable[str] | None = None) -> Iterator[pa.Table]:
    """The rows of one shard after another. Raises TableError if the table is missing, unfinished or damaged."""
    store, wanted = find_store(folder), list(columns) if columns is not None else None
    yield from parallel.prefetch(
        lambda entry: _read_shard(folder, store, entry, 0, entry["rows"], wanted), load_manifest(folder)["shards"]
    )


def read_rows(folder: Path, start: int, stop: int, columns: Iterable[str] | None = None) -> pa.Table:
    """Rows `start` to `stop` of the whole table. Only the row groups that hold them are read."""
    store, wanted = find_store(folder), list(columns) if columns is not None else None
    entries = require_manifest(folder)["shards"]
    firsts = list_first_rows(folder)
    parts: list[pa.Table] = []
    number = bisect_right(firsts, start) - 1
    while number < len(entries) and (not parts or firsts[number] < stop):
        first = firsts[number]
        parts.append(_read_shard(folder, store, entries[number], max(0, start - first), stop - first, wanted))
        number += 1
    return pa.concat_tables(parts)


def read_rows_at(folder: Path, positions: Iterable[int], columns: Iterable[str] | None = None) -> pa.Table:
    """The rows of the whole table at `positions`, in their order. Rows that are near each other are read together."""
    wanted = list(columns) if columns is not None else None
    asked = np.asarray(list(positions), np.int64)
    parts, order = [], np.unique(asked)
    for _, some in groupby(order.tolist(), key=lambda position: position // ROWS_READ_TOGETHER):
        near = list(some)
        found = read_rows(folder, near[0], near[-1] + 1, wanted)
        parts.append(found.take(pa.array([position - near[0] for position in near])))
    if not parts:
        return read_rows(folder, 0, 0, wanted)
    return pa.concat_tables(parts).take(pa.array(np.searchsorted(order, asked)))


def name_row(folder: Path, row: int) -> str:
    """Group and name of a row, `<group>/<name>`."""
    (found,) = read_rows(folder, row, row + 1, ["group", "name"]).to_pylist()
    return f"{found['group']}/{found['name']}"


def _read_shard(
    folder: Path, store: ShardStore, entry: ShardEntry, start: int, stop: int, columns: list[str] | None
) -> pa.Table:
    """Rows of one shard. Raises TableError if it is damaged, or not the shard that the manifest names."""
    try:
        with pq.ParquetFile(
            store.open_file(entry["file"]), pre_buffer=not store.in_table_folder, page_checksum_verification=True
        ) as content:
            if (content.metadata.metadata or {}).get(b"key", entry["key"].encode()) != entry["key"].encode():
                raise OSError("it is another shard")
            sizes = [content.metadata.row_group(number).num_rows for number in range(content.num_row_groups)]
            ends = list(accumulate(sizes))
            held = [number for number, end in enumerate(ends) if end > start and end - sizes[number] < stop]
            first = ends[held[0]] - sizes[held[0]] if held else 0
            found = content.read_row_groups(held, columns=columns).replace_schema_metadata()
    except (OSError, pa.ArrowException) as error:
        raise TableError(f"{describe_damage(folder, entry['file'])} ({error})") from error
    return found.slice(start - first, stop - start)


def read_rejects(folder: Path) -> pa.Table:
    """The rejects of a finished table. Raises TableError if it is missing or unfinished, or the file is damaged."""
    require_manifest(folder)
    try:
        return pq.read_table(folder / REJECTS_FILE, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise TableError(f"{describe_damage(folder, REJECTS_FILE)} ({error})") from error
