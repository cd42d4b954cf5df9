"""Stage index: the folders of a collection -> index. Every file is read once and its header checked."""

import time
from collections import Counter
from pathlib import Path

import pyarrow as pa

from pipeline import tables
from pipeline.index.check import FileCheck, check_entries
from pipeline.index.config import IndexConfig
from pipeline.index.findings import Findings, digest_content
from pipeline.index.layouts import CollectionError, Dataset, find_folders
from pipeline.index.regroup import regroup
from pipeline.index.walk import count_images, find_unused, walk_groups
from pipeline.runtime import locks, params, report
from pipeline.runtime.progress import Progress

OUTPUT_VERSION = 2
"""Raise it whenever the same files may give other rows or rejects."""

SHOWN_REASONS = 5
"""Kinds of rejects that the summary counts one by one."""

SHOWN_PATHS = 5
"""Unused paths that the summary names one by one."""


def scan_collection(root: Path, dataset: Dataset, config: IndexConfig) -> Findings:
    """Check every file of a collection.

    Raises CollectionError if the collection cannot be used, GroupingError if its file of groups cannot, OriginalError
    if a file cannot be read.
    """
    folders, found = find_folders(root, dataset.layout), Findings()
    groups = walk_groups(root, folders, dataset.exclude)
    if dataset.groups is not None:
        groups = regroup(groups, tables.read_grouping(root / dataset.groups), dataset.groups)
    entries = found.collect_entries(groups)
    with Progress("files checked", count_images(root, folders)) as progress:
        for results in check_entries(entries, FileCheck(root, config), config.num_threads):
            found.add(results)
            progress.update(len(results))
        progress.finish()
    found.unused, hidden = find_unused(root, folders)
    found.unused.pop(dataset.groups or "", None)
    found.hidden += hidden
    found.reject_lost_groups()
    return found


def index_collection(root: Path, out: Path, dataset: Dataset, config: IndexConfig) -> None:
    """Write the index of a collection into `out`. The manifest keeps the root as it is given.

    Raises CollectionError if there is no usable image, or if `strict` is set and a file is rejected. Raises
    OriginalError if a file cannot be read.
    """
    began = time.perf_counter()
    found = scan_collection(root, dataset, config)
    table = found.make_table()
    facts = {"stage": "index", "version": OUTPUT_VERSION, "root": str(root), "images": len(table)}
    counts = tables.write_table(out, table, found.rejects, **facts, content=digest_content(table))
    _print_summary(found, table, out, time.perf_counter() - began)
    if not counts.rows:
        raise CollectionError(f"no usable image in {root}: expected images/<group>/*, or set datasets.<name>.layout")
    if config.strict and counts.rejects:
        for row in tables.read_rejects(out).to_pylist():
            print(f"index: {row['path']!r}: {row['reason']}")
        raise CollectionError(f"{counts.rejects} files were rejected and index.strict is set")


def _print_summary(found: Findings, table: pa.Table, out: Path, seconds: float) -> None:
    report.print_summary(
        "index",
        _describe_images(found, table),
        f"{seconds:.1f} s, {sum(found.checked.values()) / max(seconds, 1e-9):.0f} images/s; the table is in {out}",
        *_describe_unused(found),
        *_describe_rejects(found),
        rejects=tables.read_rejects(out).to_pylist(),
        rejects_file=out / tables.REJECTS_FILE,
        lost_groups=found.find_lost_groups(),
    )


def _describe_images(found: Findings, table: pa.Table) -> str:
    groups = sum(1 for count in found.kept.values() if count)
    masks, void = (len(table) - table.column(kind).null_count for kind in ("mask", "void"))
    more = f", {void} with a void mask" if void else ""
    return f"{len(table)} images in {groups} group{'s' * (groups != 1)}, {masks} with a mask{more}"


def _describe_unused(found: Findings) -> list[str]:
    lines = []
    for label, counts in (("excluded", found.excluded), ("not part of the layout", found.unused)):
        if counts:
            named = [f"{path} ({count} file{'s' * (count != 1)})" for path, count in list(counts.items())[:SHOWN_PATHS]]
            more = f" and {len(counts) - SHOWN_PATHS} more" if len(counts) > SHOWN_PATHS else ""
            lines.append(f"{label}: {', '.join(named)}{more}")
    if found.hidden:
        lines.append(f"ignored: {found.hidden} hidden or system files")
    return lines


def _describe_rejects(found: Findings) -> list[str]:
    reasons = Counter(row["reason"].partition(":")[0].partition(" with ")[0] for row in found.rejects)
    if not reasons:
        return []
    named = [f'{count} x "{reason}"' for reason, count in reasons.most_common(SHOWN_REASONS)]
    more = f"; {len(reasons) - SHOWN_REASONS} more reasons" if len(reasons) > SHOWN_REASONS else ""
    return [f"rejected: {'; '.join(named)}{more}"]


def main(dataset: str, out: Path) -> None:
    """Write the index of the collection DATASET, a name under `datasets` in params.yaml, into OUT."""
    section = params.load_section(f"datasets.{dataset}", Dataset)
    with locks.lock_output(out):
        index_collection(Path(section.root), out, section, params.load_section("index", IndexConfig))
