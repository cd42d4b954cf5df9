"""Small tables: numbers in groups."""

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import tables

ROWS = pa.schema([*tables.KEY, ("value", pa.int64())])


def rows_of(sizes):
    """A table with groups of these sizes."""
    groups = [f"g{number:03d}" for number, size in enumerate(sizes) for _ in range(size)]
    names = [f"i{number:05d}" for number in range(len(groups))]
    return pa.table({"group": groups, "name": names, "value": range(len(groups))}, schema=ROWS)


def write_shards(address, table, shards, refuse=()):
    """Write shards of a table; images whose names are in `refuse` become rejects."""
    for shard in shards:
        rows = table.slice(shard.start, len(shard)).to_pylist()
        rejects = [{**row, "path": row["name"], "stage": "x", "reason": "bad", "error": "E"} for row in rows]
        kept = [row for row in rows if row["name"] not in refuse]
        tables.write_shard(str(address), shard, ROWS, kept, [row for row in rejects if row["name"] in refuse])


def make_table(folder, table, storage=None, max_weight=2, refuse=(), stage="sism"):
    """Make what is missing of a table; returns its shards, and those that were made now."""
    shards = tables.plan_shards(table, max_weight, "x")
    with tables.TableWriter(folder, shards, ROWS, storage) as writer:
        write_shards(writer.address, table, writer.missing, refuse)
        writer.finish(stage=stage)
    return shards, writer.missing


def flip_bit(file, share=0.25, column=None):
    """Flip one bit of a file, at this share of its length, or of the length of a column of its first row group."""
    content = bytearray(file.read_bytes())
    start, length = (0, len(content)) if column is None else _find_column(file, column)
    content[start + int(length * share)] ^= 1
    file.write_bytes(content)


def _find_column(file, name):
    """Where the pages of a column lie in a Parquet file, and how many bytes they are."""
    group = pq.read_metadata(file).row_group(0)
    chunks = [group.column(number) for number in range(group.num_columns)]
    chunk = next(one for one in chunks if one.path_in_schema == name)
    start = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
    return start, chunk.total_compressed_size
