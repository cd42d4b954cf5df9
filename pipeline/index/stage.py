"""Stage index: a collection's folders -> index. Every file is read once, its header checked, no pixel decoded."""

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
from tqdm import tqdm

from pipeline import tables
from pipeline.index.check import FileCheck, check_entries
from pipeline.index.config import IndexConfig
from pipeline.index.layouts import CollectionError, Dataset, find_folders
from pipeline.index.walk import Entry, Group, count_files, make_reject, walk_groups
from pipeline.runtime import locks, params, report

REASONS = 5
"""Kinds of reason that the summary counts one by one."""

NO_MASK = "has no mask: its map is predicted, not scored"

PACK_SIZE = 4096
"""Rows held as Python objects before they are packed."""


@dataclass
class Findings:
    """What is known so far: packed rows, rejects, and how many images each group had and kept."""

    packed: list[pa.Table] = field(default_factory=list)
    rows: list[dict] = field(default_factory=list)
    rejects: list[dict] = field(default_factory=list)
    folders: dict[str, str] = field(default_factory=dict)
    seen: Counter = field(default_factory=Counter)
    kept: Counter = field(default_factory=Counter)

    def entries(self, groups: Iterable[Group]) -> Iterator[Entry]:
        """The groups' images one after another; what was refused by name is noted on the way."""
        for group in groups:
            self.rejects += group.rejects
            if group.name:
                self.folders[group.name] = group.folder
            yield from group.entries

    def add(self, results: Iterable[dict]) -> None:
        """Note rows and rejects of checked images."""
        for result in results:
            self.seen[result["group"]] += 1
            if "image_digest" not in result:
                self.rejects.append(result)
                continue
            self.kept[result["group"]] += 1
            self.rows.append(result)
            if result.pop("unmasked"):
                self.rejects.append(make_reject(result["image"], result["group"], NO_MASK))
        if len(self.rows) >= PACK_SIZE:
            self.pack()

    def pack(self) -> None:
        """Turn the rows held so far into columns."""
        self.packed.append(pa.Table.from_pylist(self.rows, schema=tables.INDEX))
        self.rows = []

    def table(self) -> pa.Table:
        """All rows, in the order of (group, name)."""
        self.pack()
        return pa.concat_tables(self.packed)

    def lost(self) -> list[str]:
        """Groups without a single good image."""
        return sorted(group for group in self.folders if not self.kept[group])


def scan_collection(root: Path, dataset: Dataset, config: IndexConfig) -> Findings:
    """Look at every file of a collection. Raises CollectionError where there is no usable image in it."""
    folders, found = find_folders(root, dataset.layout), Findings()
    groups = walk_groups(root, folders, dataset.exclude)
    total = count_files(root, folders, dataset.exclude)
    with tqdm(total=total, unit="image", desc="files checked", mininterval=1.0) as bar:
        for results in check_entries(found.entries(groups), FileCheck(root, config), config.num_threads):
            found.add(results)
            bar.update(len(results))
        bar.total = bar.n
    for group in found.lost():
        if found.seen[group]:
            reason = f"lost all its images: {found.seen[group]} refused, none left"
            found.rejects.append(make_reject(found.folders[group], group, reason))
    return found


def index_collection(root: Path, out: Path, dataset: Dataset, config: IndexConfig) -> None:
    """Make the index of a collection.

    Later stages find the root in the manifest, as it was given. Raises CollectionError where there is no usable image,
    or where `strict` is set and a file was refused.
    """
    began = time.perf_counter()
    found = scan_collection(root, dataset, config)
    table = found.table()
    facts = {"stage": "index", "root": str(root), "images": len(table), "content": _content(table)}
    counts = tables.write_table(out, table, found.rejects, **facts)
    _print_summary(found, table, out, time.perf_counter() - began)
    if not counts.rows:
        raise CollectionError(f"no usable image under {root}: expected images/<group>/*, or set datasets.<name>.layout")
    if config.strict and counts.rejects:
        for row in tables.read_rejects(out).to_pylist():
            print(f"index: {row['path']!r}: {row['reason']}")
        raise CollectionError(f"{counts.rejects} files were refused and index.strict is set")


def _content(table: pa.Table) -> str:
    """A short name of all rows: it changes with any file's place or bytes."""
    digest = hashlib.blake2b(digest_size=16)
    columns = [kind + suffix for suffix in ("", "_digest") for kind in ("image", "mask", "void")]
    for batch in table.select(columns).to_batches():
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            digest.update(f"{row}\n".encode())
    return digest.hexdigest()


def _print_summary(found: Findings, table: pa.Table, out: Path, seconds: float) -> None:
    masks = len(table) - table.column("mask").null_count
    void = len(table) - table.column("void").null_count
    groups = sum(1 for count in found.kept.values() if count)
    rate = sum(found.seen.values()) / max(seconds, 1e-9)
    lines = [
        f"{len(table)} images in {groups} group{'s' * (groups != 1)}, {masks} with a mask"
        + (f", {void} with a void mask" if void else ""),
        f"{seconds:.1f} s, {rate:.0f} images/s; the table is in {out}",
    ]
    reasons = Counter(row["reason"].partition(":")[0] for row in found.rejects)
    if reasons:
        said = [f'{count} x "{reason}"' for reason, count in reasons.most_common(REASONS)]
        more = f"; {len(reasons) - REASONS} more reasons" if len(reasons) > REASONS else ""
        lines.append(f"refused: {'; '.join(said)}{more}")
    report.print_summary(
        "index",
        *lines,
        rejects=tables.read_rejects(out).to_pylist(),
        rejects_file=out / tables.REJECTS_FILE,
        lost_groups=found.lost(),
    )


def main(dataset: str, out: Path) -> None:
    """Write the INDEX table of the collection DATASET, a name under `datasets` in params.yaml, into OUT."""
    section = params.load_section(f"datasets.{dataset}", Dataset)
    with locks.lock_output(out):
        index_collection(Path(section.root), out, section, params.load_section("index", IndexConfig))
