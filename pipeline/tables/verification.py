"""Which shards of a plan are there already, and whole.

When a stage runs, each shard that it keeps is read once and compared with its digest. The digest is in the manifest or,
below a `storage` URI, in the name of the file. A table that was never finished has no digests; then the pages of its
shards are compared with their checksums. Damaged files are removed, so the stage makes them again.

Threads read 16 files at once, about 1 GB/s for each core. Where a table is large and its store is trusted,
COSAL_SKIP_VERIFY=1 leaves this out: then name, size and key must fit.
"""

import os
from collections.abc import Sequence

import pyarrow as pa

from pipeline.runtime import parallel
from pipeline.tables.filesystems import StorageError
from pipeline.tables.manifest import ShardEntry
from pipeline.tables.parquet import check_pages, read_facts
from pipeline.tables.shards import Shard
from pipeline.tables.store import ShardStore, parse_shard_name

SKIP_ENV_VAR = "COSAL_SKIP_VERIFY"


def find_whole_shards(
    store: ShardStore, shards: Sequence[Shard], entries: Sequence[ShardEntry]
) -> dict[Shard, tuple[str, str]]:
    """File name and digest of every planned shard that is in the store, undamaged.

    `entries`: the shards that the manifest of the table names. Damaged files are removed.
    """
    sizes, known = store.list_files(), {entry["file"]: entry for entry in entries}
    names = _name_files(store, shards, sizes, known)
    candidates = [shard for shard in shards if shard in names]
    digests = parallel.prefetch(
        lambda shard: _verify_shard(store, shard, names[shard], sizes[names[shard]], known.get(names[shard])),
        candidates,
    )
    return {shard: (names[shard], digest) for shard, digest in zip(candidates, digests, strict=True) if digest}


def _name_files(
    store: ShardStore, shards: Sequence[Shard], sizes: dict[str, int], known: dict[str, ShardEntry]
) -> dict[Shard, str]:
    """The file that may hold each shard. Of several with its key, the one that the manifest names goes first."""
    if store.in_table_folder:
        return {shard: shard.file for shard in shards if shard.file in sizes}
    order = sorted(sizes, key=lambda name: (name in known, name))
    by_key = {parse_shard_name(name)[0]: name for name in order}
    return {shard: by_key[shard.key] for shard in shards if shard.key in by_key}


def _verify_shard(store: ShardStore, shard: Shard, name: str, size: int, entry: ShardEntry | None) -> str | None:
    """The digest of a shard; None if the file holds another shard, or is damaged: then it is removed.

    Raises StorageError if it cannot be read.
    """
    if entry and entry["key"] != shard.key:
        return None
    expected = entry["digest"] if entry else None if store.in_table_folder else parse_shard_name(name)[1]
    try:
        if entry and entry["bytes"] != size:
            raise ValueError("it has another size")
        if expected is None or os.environ.get(SKIP_ENV_VAR) == "1":
            facts = (read_facts if expected else check_pages)(store.open_file(name))
            return (expected or store.digest_file(name)) if facts.key == shard.key else None
        if store.digest_file(name) != expected:
            raise ValueError("it has another digest")
        return expected
    except FileNotFoundError:
        return None
    except (ValueError, pa.ArrowException, OSError) as error:
        # Arrow reports damage as an OSError without a number; other ones are failures of the disk or the network.
        if isinstance(error, OSError) and (error.errno is not None or not store.in_table_folder):
            raise StorageError(f"{store}/{name} cannot be read: {error}") from error
        store.remove_file(name)
        return None
