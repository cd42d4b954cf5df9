"""Shards: how the rows of a table are divided, and the key of each part."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from pipeline.tables.keys import fingerprint


@dataclass(frozen=True)
class Shard:
    """Rows `start` to `stop` of the table it is planned from: they are computed and stored together."""

    number: int
    start: int
    stop: int
    key: str

    @property
    def file(self) -> str:
        """The name of the shard's file in the folder of the table."""
        return f"shard-{self.number:06d}.parquet"

    def __len__(self) -> int:
        return self.stop - self.start


def plan_shards(
    rows: pa.Table,
    max_weight: float,
    made_by: str = "",
    weights: Sequence[float] | None = None,
    one_group_per_shard: bool = False,
) -> list[Shard]:
    """Divide `rows` (sorted by group) into shards; whole groups stay together where they fit.

    The weights of the rows of a shard (1 each by default) sum up to at most `max_weight`, unless it has one row. The
    plan depends on these arguments alone, so it is the same on any cluster. The key of a shard is made of its rows and
    of `made_by`, the key of everything else that decides its bytes (`make_key`). With `one_group_per_shard` the shards
    of a group do not depend on the other groups.
    """
    groups = rows.column("group").to_pylist()
    weights = weights if weights is not None else [1.0] * len(groups)
    boundaries = _find_boundaries(groups, weights, max_weight, one_group_per_shard)
    return [
        Shard(number, start, stop, fingerprint(rows.slice(start, stop - start).to_pydict(), made_by))
        for number, (start, stop) in enumerate(boundaries)
    ]


def _find_boundaries(
    groups: list[str], weights: Sequence[float], max_weight: float, one_group_per_shard: bool
) -> Iterator[tuple[int, int]]:
    start, held = 0, 0.0
    for first, last in _find_groups(groups):
        size = sum(weights[first:last])
        if start < first and (one_group_per_shard or held + size > max_weight):
            yield start, first
            start, held = first, 0.0
        if size <= max_weight:
            held += size
            continue
        for row in range(first, last):
            if row > start and held + weights[row] > max_weight:
                yield start, row
                start, held = row, 0.0
            held += weights[row]
        yield start, last
        start, held = last, 0.0
    if start < len(groups):
        yield start, len(groups)


def _find_groups(groups: list[str]) -> Iterator[tuple[int, int]]:
    """First and last row + 1 of each group."""
    start = 0
    for row in range(1, len(groups) + 1):
        if row == len(groups) or groups[row] != groups[start]:
            yield start, row
            start = row
