"""Plans: how the rows of a table are cut into shards, and the key by which a shard is known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.tables.keys import fingerprint


@dataclass(frozen=True)
class Shard:
    """A unit of work and of storage: rows `start` to `stop` of the table it is planned from."""

    number: int
    start: int
    stop: int
    key: str

    @property
    def file(self) -> str:
        """The shard's file name in a table's own folder."""
        return f"shard-{self.number:06d}.parquet"

    def __len__(self) -> int:
        return self.stop - self.start


def plan_shards(rows: pa.Table, most: float, *made_by: Any, weights: Sequence[float] | None = None) -> list[Shard]:
    """Cut `rows` (sorted by group) into shards of at most `most` images, whole groups together where they fit.

    Depends on nothing but the rows, `most` and `weights` (each row's share of `most`, 1 by default). A shard's key
    holds its rows and `made_by`: whatever else decides its bytes.
    """
    groups = rows.column("group").to_pylist()
    weights = weights if weights is not None else [1.0] * len(groups)
    return [
        Shard(number, start, stop, fingerprint(rows.slice(start, stop - start).to_pydict(), *made_by))
        for number, (start, stop) in enumerate(_find_boundaries(groups, weights, most))
    ]


def _find_boundaries(groups: list[str], weights: Sequence[float], most: float) -> Iterator[tuple[int, int]]:
    start, held = 0, 0.0
    for first, last in _find_groups(groups):
        size = sum(weights[first:last])
        if start < first and held + size > most:
            yield start, first
            start, held = first, 0.0
        if size <= most:
            held += size
            continue
        for row in range(first, last):
            if row > start and held + weights[row] > most:
                yield start, row
                start, held = row, 0.0
            held += weights[row]
        yield start, last
        start, held = last, 0.0
    if start < len(groups):
        yield start, len(groups)


def _find_groups(groups: list[str]) -> Iterator[tuple[int, int]]:
    start = 0
    for row in range(1, len(groups) + 1):
        if row == len(groups) or groups[row] != groups[start]:
            yield start, row
            start = row
