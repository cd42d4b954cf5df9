"""The tables that stages exchange: schemas, shards, manifests, and where the shards are stored."""

from pipeline.tables.keys import fingerprint
from pipeline.tables.manifest import (
    MANIFEST_FILE,
    REJECTS_FILE,
    TableError,
    describe_damage,
    find_store,
    load_manifest,
    peek_manifest,
    require_manifest,
    write_manifest,
)
from pipeline.tables.originals import OriginalError, digest_file, read_file, read_original
from pipeline.tables.reader import iterate_shards, read_rejects, read_rows, read_table
from pipeline.tables.schemas import INDEX, KEY, MAPS, REJECTS, SAMPLES
from pipeline.tables.shards import Shard, plan_shards
from pipeline.tables.store import (
    PROBE_ATTEMPTS,
    RETRY_ATTEMPTS,
    RETRY_LIMIT,
    URI_OPTIONS,
    ShardStore,
    StorageError,
    digest_shard,
    name_shard,
    open_store,
    resolve_address,
)
from pipeline.tables.writer import (
    Counts,
    finish_table,
    prepare_table,
    write_parquet,
    write_rejects,
    write_shard,
    write_table,
)

__all__ = [
    "INDEX",
    "KEY",
    "MANIFEST_FILE",
    "MAPS",
    "PROBE_ATTEMPTS",
    "REJECTS",
    "REJECTS_FILE",
    "RETRY_ATTEMPTS",
    "RETRY_LIMIT",
    "SAMPLES",
    "URI_OPTIONS",
    "Counts",
    "OriginalError",
    "Shard",
    "ShardStore",
    "StorageError",
    "TableError",
    "describe_damage",
    "digest_file",
    "digest_shard",
    "find_store",
    "fingerprint",
    "finish_table",
    "iterate_shards",
    "load_manifest",
    "name_shard",
    "open_store",
    "peek_manifest",
    "plan_shards",
    "prepare_table",
    "read_file",
    "read_original",
    "read_rejects",
    "read_rows",
    "read_table",
    "require_manifest",
    "resolve_address",
    "write_manifest",
    "write_parquet",
    "write_rejects",
    "write_shard",
    "write_table",
]
