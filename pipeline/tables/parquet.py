"""Parquet files as tables use them: compressed, with page checksums, facts about the shard in the metadata."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.runtime.files import replace_when_done, write_file
from pipeline.tables.shards import Shard

ROW_GROUP_SIZE = 64
"""Rows that are read together. A row of samples or maps holds pictures of some 10 to 100 kB."""


@dataclass(frozen=True)
class ShardFacts:
    """What the footer of a shard tells without its rows: key, number of rows, rejects."""

    key: str
    rows: int
    rejects: list[dict[str, Any]]

    def count_images(self) -> int:
        """Images that became a row or were rejected."""
        return self.rows + len({(row["group"], row["name"]) for row in self.rejects})


def encode_table(table: pa.Table, row_group_size: int = ROW_GROUP_SIZE) -> pa.Buffer:
    """The bytes of a Parquet file."""
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd", row_group_size=row_group_size, write_page_checksum=True)
    return buffer.getvalue()


def encode_shard(
    shard: Shard, schema: pa.Schema, rows: list[dict[str, Any]], rejects: list[dict[str, Any]]
) -> pa.Buffer:
    """The bytes of a shard: rows in the order of (group, name); its rejects are in the metadata."""
    metadata = {"key": shard.key, "rejects": json.dumps(rejects)}
    rows = sorted(rows, key=lambda row: (row["group"], row["name"]))
    return encode_table(pa.Table.from_pylist(rows, schema=schema.with_metadata(metadata)))


def write_parquet(table: pa.Table, file: Path, row_group_size: int = ROW_GROUP_SIZE) -> None:
    """Write a Parquet file that is either whole or not there; `row_group_size`: rows that are read together."""
    write_file(file, encode_table(table, row_group_size))


def stream_parquet(
    parts: Iterable[pa.Table], schema: pa.Schema, file: Path, row_group_size: int = ROW_GROUP_SIZE
) -> None:
    """Write a Parquet file part after part, so that one is in memory. It is either whole or not there."""
    options = {"compression": "zstd", "write_page_checksum": True}
    with replace_when_done(file) as temporary, pq.ParquetWriter(temporary, schema, **options) as writer:
        for part in parts:
            writer.write_table(part, row_group_size)


def read_facts(content: pa.NativeFile) -> ShardFacts:
    """The facts of an opened shard. Raises OSError or ArrowException if it is damaged, ValueError if it is no shard."""
    with pq.ParquetFile(content) as file:
        return _parse_facts(file)


def check_pages(content: pa.NativeFile) -> ShardFacts:
    """The same, after all pages were read and compared with their checksums."""
    with pq.ParquetFile(content, page_checksum_verification=True) as file:
        for _ in file.iter_batches(batch_size=ROW_GROUP_SIZE):
            pass
        return _parse_facts(file)


def _parse_facts(file: pq.ParquetFile) -> ShardFacts:
    metadata = file.metadata.metadata or {}
    if b"key" not in metadata or b"rejects" not in metadata:
        raise ValueError("it holds no shard")
    return ShardFacts(metadata[b"key"].decode(), file.metadata.num_rows, json.loads(metadata[b"rejects"]))
