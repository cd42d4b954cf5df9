"""Write tables: shards under their keys, then the manifest that makes the table complete."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import pyarrow as pa

from pipeline.runtime import locks, parallel
from pipeline.tables.keys import fingerprint
from pipeline.tables.manifest import (
    MANIFEST_FILE,
    OLD_MANIFEST_FILE,
    REJECTS_FILE,
    Manifest,
    ShardEntry,
    TableError,
    find_store,
    list_entries,
    write_manifest,
)
from pipeline.tables.parquet import ShardFacts, encode_shard, encode_table, read_facts, write_parquet
from pipeline.tables.schemas import REJECTS
from pipeline.tables.shards import Shard
from pipeline.tables.store import ShardStore, digest_shard, open_store, parse_shard_name, resolve_address
from pipeline.tables.verification import find_whole_shards


@dataclass(frozen=True)
class Counts:
    """Rows of a table, and files that were rejected."""

    rows: int
    rejects: int


class TableWriter:
    """A table that is being made. As a context manager it holds the table's lock.

        with TableWriter(folder, shards, schema, storage) as writer:
            ...  # any process: write_shard(writer.address, shard, ...) for every shard of writer.missing
            writer.finish(stage="sism")

    `folder` gets the manifest and the rejects, and the shards unless `storage` names a URI for them. Shards that are
    there already, whole and under the right key, are kept; those in an older place are copied.
    """

    def __init__(self, folder: Path, shards: Sequence[Shard], schema: pa.Schema, storage: str | None = None) -> None:
        self.folder, self.shards, self.schema = folder, list(shards), schema
        self.address = resolve_address(folder, storage)
        self.missing: list[Shard] = []
        self._lock = locks.lock_output(folder)
        self._kept: dict[Shard, str] = {}

    def __enter__(self) -> Self:
        """Raises LockedError if another process makes this table, and StorageError if the store cannot be used."""
        self._store = open_store(self.address)
        self._lock.__enter__()
        try:
            self._prepare()
        except BaseException as error:
            self._lock.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.__exit__(kind, error, trace)

    def _prepare(self) -> None:
        """Find the shards that are still to be made, and make the table unfinished."""
        self._store.check_access()
        self.folder.mkdir(parents=True, exist_ok=True)
        before, entries = find_store(self.folder), list_entries(self.folder)
        moved = before.address != self._store.address
        found = find_whole_shards(self._store, self.shards, [] if moved else entries)
        rest = [shard for shard in self.shards if shard not in found]
        elsewhere = find_whole_shards(before, rest, entries) if moved else {}
        for _ in parallel.prefetch(
            lambda shard: _copy_shard(before, self._store, shard, elsewhere[shard][0]), elsewhere
        ):
            pass
        invalidate_manifest(self.folder)  # after the copies: only the manifest knows the older place
        self._kept = {shard: digest for shard, (_, digest) in (found | elsewhere).items()}
        self.missing = [shard for shard in rest if shard not in elsewhere]

    def finish(self, **facts: Any) -> Counts:
        """Check that every planned image is a row or a reject, remove files of older plans, write the manifest.

        `facts` are added to the manifest. Raises TableError if a shard is missing, or holds too few or too many images.
        """
        if not self.shards:
            return write_table(self.folder, self.schema.empty_table(), [], **facts)
        sizes, names = self._store.list_files(), self._name_files()
        for shard in self.shards:
            if names.get(shard) not in sizes:
                raise TableError(f"{self._store}/{shard.file} was not made: run the stage again")
        entries: list[ShardEntry] = []
        rejects: list[dict[str, Any]] = []
        described = parallel.prefetch(lambda shard: self._describe_shard(shard, names[shard]), self.shards)
        for shard, (facts_of_shard, digest) in zip(self.shards, described, strict=True):
            name = names[shard]
            entries.append(
                {"file": name, "rows": facts_of_shard.rows, "bytes": sizes[name], "key": shard.key, "digest": digest}
            )
            rejects += facts_of_shard.rejects
        _remove_unlisted(self.folder, {entry["file"] for entry in entries} if self._store.in_table_folder else set())
        write_rejects(rejects, self.folder)
        manifest: Manifest = {"rows": sum(e["rows"] for e in entries), "rejects": len(rejects), "shards": entries}
        if not self._store.in_table_folder:
            manifest["storage"] = self._store.address
        write_manifest(self.folder, cast(Manifest, {**manifest, **facts}))
        return Counts(manifest["rows"], len(rejects))

    def _name_files(self) -> dict[Shard, str]:
        """The file of each shard. Below a URI, of several with the same key, the first by name."""
        if self._store.in_table_folder:
            return {shard: shard.file for shard in self.shards}
        by_key = {parse_shard_name(name)[0]: name for name in sorted(self._store.list_files(), reverse=True)}
        kept = {shard: f"{shard.key}-{digest}.parquet" for shard, digest in self._kept.items()}
        return {shard: by_key[shard.key] for shard in self.shards if shard.key in by_key} | kept

    def _describe_shard(self, shard: Shard, name: str) -> tuple[ShardFacts, str]:
        """Facts and digest of a finished shard. Raises TableError if it is damaged or images were lost."""
        try:
            facts = read_facts(self._store.open_file(name))
            if facts.key != shard.key:
                raise ValueError("it is another shard")
            digest = self._kept.get(shard) or self._compute_digest(name)
        except (pa.ArrowException, ValueError) as error:
            self._store.remove_file(name)
            raise TableError(
                f"{self._store}/{name} was damaged ({error}) and is removed: run the stage again"
            ) from error
        if facts.count_images() != len(shard):
            raise TableError(
                f"{self._store}/{name} holds {facts.rows} rows and {len(facts.rejects)} rejects"
                f" of {len(shard)} planned images"
            )
        return facts, digest

    def _compute_digest(self, name: str) -> str:
        return self._store.digest_file(name) if self._store.in_table_folder else parse_shard_name(name)[1]


def write_shard(
    address: str, shard: Shard, schema: pa.Schema, rows: list[dict[str, Any]], rejects: list[dict[str, Any]]
) -> None:
    """Write one shard to the `address` of a TableWriter, in any process."""
    open_store(address).write_shard(shard, encode_shard(shard, schema, rows, rejects))


def write_table(folder: Path, table: pa.Table, rejects: list[dict[str, Any]], **facts: Any) -> Counts:
    """Write a small table at once: one shard, its rejects and its manifest. The lock is up to the caller."""
    content = encode_table(table, row_group_size=1 << 16)
    digest = digest_shard(content)
    shard = Shard(0, 0, len(table), fingerprint(digest))
    folder.mkdir(parents=True, exist_ok=True)
    invalidate_manifest(folder)
    _remove_unlisted(folder, {shard.file})
    open_store(resolve_address(folder, None)).write_shard(shard, content)
    write_rejects(rejects, folder)
    entry: ShardEntry = {
        "file": shard.file, "rows": len(table), "bytes": content.size, "key": shard.key, "digest": digest,
    }  # fmt: skip
    manifest: Manifest = {"rows": len(table), "rejects": len(rejects), "shards": [entry]}
    write_manifest(folder, cast(Manifest, {**manifest, **facts}))
    return Counts(len(table), len(rejects))


def write_rejects(rejects: list[dict[str, Any]], folder: Path) -> None:
    """Write the rejects of a table, sorted by path."""
    rows = sorted(
        ({field: row.get(field) for field in REJECTS.names} for row in rejects),
        key=lambda row: (row["path"] or "", row["reason"] or ""),
    )
    write_parquet(pa.Table.from_pylist(rows, schema=REJECTS), folder / REJECTS_FILE)


def invalidate_manifest(folder: Path) -> None:
    """Make a table unfinished, and remove what killed processes and version 0.1 left in its folder."""
    for leftover in (folder / MANIFEST_FILE, folder / OLD_MANIFEST_FILE, *folder.glob(".*.part")):
        leftover.unlink(missing_ok=True)


def _copy_shard(before: ShardStore, store: ShardStore, shard: Shard, name: str) -> None:
    with before.open_file(name) as content:
        store.write_shard(shard, content.read_buffer())


def _remove_unlisted(folder: Path, expected: set[str]) -> None:
    for file in folder.glob("shard-*.parquet"):
        if file.name not in expected:
            file.unlink()
