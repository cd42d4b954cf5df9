"""The tables that stages exchange: schemas, shards, manifests, and where the shards are stored."""

from pipeline.tables.filesystems import URI_OPTIONS, StorageError
from pipeline.tables.grouping import (
    UNSORTED,
    GroupedPhoto,
    GroupingError,
    format_grouping,
    read_grouping,
    write_grouping,
)
from pipeline.tables.keys import fingerprint, fingerprint_rows, make_key
from pipeline.tables.lookup import find_positions
from pipeline.tables.manifest import (
    MANIFEST_FILE,
    REJECTS_FILE,
    WORK_FOLDER,
    Manifest,
    ShardEntry,
    TableError,
    find_store,
    list_entries,
    load_manifest,
    read_manifest,
    require_manifest,
)
from pipeline.tables.originals import OriginalError, digest_file, read_file, read_original, read_with_retries
from pipeline.tables.parquet import stream_parquet, write_parquet
from pipeline.tables.reader import iterate_shards, name_row, read_rejects, read_rows, read_rows_at, read_table
from pipeline.tables.schemas import EMBEDDINGS, INDEX, KEY, MAPS, REJECTS, SAMPLES
from pipeline.tables.shards import Shard, plan_shards
from pipeline.tables.store import ShardStore, open_store, parse_shard_name, resolve_address
from pipeline.tables.writer import Counts, TableWriter, write_shard, write_table

__all__ = [
    "EMBEDDINGS",
    "INDEX",
    "KEY",
    "MANIFEST_FILE",
    "MAPS",
    "REJECTS",
    "REJECTS_FILE",
    "SAMPLES",
    "UNSORTED",
    "URI_OPTIONS",
    "WORK_FOLDER",
    "Counts",
    "GroupedPhoto",
    "GroupingError",
    "Manifest",
    "OriginalError",
    "Shard",
    "ShardEntry",
    "ShardStore",
    "StorageError",
    "TableError",
    "TableWriter",
    "digest_file",
    "find_positions",
    "find_store",
    "fingerprint",
    "fingerprint_rows",
    "format_grouping",
    "iterate_shards",
    "list_entries",
    "load_manifest",
    "make_key",
    "name_row",
    "open_store",
    "parse_shard_name",
    "plan_shards",
    "read_file",
    "read_grouping",
    "read_manifest",
    "read_original",
    "read_rejects",
    "read_rows",
    "read_rows_at",
    "read_table",
    "read_with_retries",
    "require_manifest",
    "resolve_address",
    "stream_parquet",
    "write_grouping",
    "write_parquet",
    "write_shard",
    "write_table",
]
