"""What stage index found: rows, rejects, and everything that was left out."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipeline import tables
from pipeline.index.rejects import Reject, make_reject
from pipeline.index.walk import Entry, Group

ROWS_IN_MEMORY = 4096
"""Rows held as Python objects before they become columns."""


@dataclass
class Findings:
    """Rows of the index, rejects, and counts by group."""

    parts: list[pa.Table] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    folders: dict[str, str] = field(default_factory=dict)
    checked: "Counter[str]" = field(default_factory=Counter)
    kept: "Counter[str]" = field(default_factory=Counter)
    excluded: dict[str, int] = field(default_factory=dict)
    unused: dict[str, int] = field(default_factory=dict)
    hidden: int = 0

    def collect_entries(self, groups: Iterable[Group]) -> Iterator[Entry]:
        """Yield the images of the groups, and keep what their names alone decide."""
        for group in groups:
            self.rejects += group.rejects
            self.hidden += group.hidden
            if group.excluded:
                self.excluded[group.name] = group.excluded
            elif group.name:
                self.folders[group.name] = group.folder
            self.checked[group.name] += len(group.entries)
            yield from group.entries

    def add(self, results: Iterable[dict[str, Any]]) -> None:
        """Add rows and rejects of checked images."""
        for result in results:
            if "image_digest" in result:
                self.kept[result["group"]] += 1
                self.rows.append(result)
            else:
                self.rejects.append(result)
        if len(self.rows) >= ROWS_IN_MEMORY:
            self._convert_rows()

    def make_table(self) -> pa.Table:
        """Return all rows, sorted by (group, name)."""
        self._convert_rows()
        return pa.concat_tables(self.parts)

    def find_lost_groups(self) -> list[str]:
        """Return the groups without a single usable image, sorted."""
        return sorted(group for group in self.folders if not self.kept[group])

    def reject_lost_groups(self) -> None:
        """Add a reject for each group that had images and lost all of them."""
        for group in self.find_lost_groups():
            if self.checked[group]:
                reason = f"lost all its images: none of {self.checked[group]} can be used"
                self.rejects.append(make_reject(self.folders[group], group, reason))

    def _convert_rows(self) -> None:
        self.parts.append(pa.Table.from_pylist(self.rows, schema=tables.INDEX))
        self.rows = []


def digest_content(table: pa.Table) -> str:
    """Return a digest of all rows. It changes if any file's path or bytes change."""
    digest = hashlib.blake2b(digest_size=16)
    columns = [kind + suffix for suffix in ("", "_digest") for kind in ("image", "mask", "void")]
    for batch in table.select(columns).to_batches():
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            digest.update(f"{row}\n".encode())
    return digest.hexdigest()
