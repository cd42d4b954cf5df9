"""The order of an epoch's batches, and which rank computes which of them.

The order depends only on the seed and the epoch, not on the machines. `torch.utils.data` samplers are not used: its
`DistributedSampler` repeats or drops rows to make ranks equal and cannot start at a batch of an epoch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.train.split import Groups

LARGE_GROUP = 64
"""Images from which on a group is not drawn more often."""

PlannedBatch = tuple[int, ...]
"""Rows of a batch."""


@dataclass(frozen=True)
class BatchSlot:
    """A batch of a step on one rank: its rows, its weight in the step's loss, and its number in the epoch's plan."""

    rows: PlannedBatch
    weight: float
    number: int


def plan_epoch(groups: Groups, size: int, seed: int, epoch: int) -> list[PlannedBatch]:
    """The batches of an epoch, of about `size` images: every group shuffled and divided, then all batches shuffled.

    A last batch of one image joins the batch before it; a group of one image has no batch (batch norm needs two).
    """
    draw = np.random.default_rng([seed, epoch])
    batches: list[PlannedBatch] = []
    for group in sorted(groups):
        rows = draw.permutation(np.asarray(groups[group])).tolist()
        if len(rows) > 1:
            batches += _divide(rows, size)
    return [batches[number] for number in draw.permutation(len(batches))]


def plan_group_batches(
    groups: Groups, size: int, seed: int, epoch: int, min_size: int | None = None
) -> list[PlannedBatch]:
    """As many batches as in `plan_epoch`, each of a group that is drawn by the square root of its size.

    A group counts at most LARGE_GROUP images there. A batch has `min_size` (None: `size`) to `size` images, or all of
    a smaller group; it never has an image twice, but an epoch may.
    """
    draw = np.random.default_rng([seed, epoch])
    usable = [np.asarray(groups[group]) for group in sorted(groups) if len(groups[group]) > 1]
    chances = np.sqrt([min(len(rows), LARGE_GROUP) for rows in usable])
    count = sum(math.ceil(len(rows) / size) for rows in usable)
    batches: list[PlannedBatch] = []
    for number in draw.choice(len(usable), size=count, p=chances / chances.sum()):
        length = int(draw.integers(min_size or size, size + 1))
        batches.append(tuple(draw.permutation(usable[number])[:length].tolist()))
    return batches


def _divide(rows: list[int], size: int) -> list[PlannedBatch]:
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    if len(parts[-1]) == 1:
        parts[-2:] = [parts[-2] + parts[-1]]
    return [tuple(part) for part in parts]


def assign_to_rank(
    batches: Sequence[PlannedBatch], ranks: int, rank: int, accumulated: int = 1, position: int = 0
) -> list[list[BatchSlot]]:
    """One rank's slots in every step that is left after `position` batches of a plan.

    A step takes `ranks` x `accumulated` batches, one to each rank in turn. Weights make the average over the ranks the
    mean over the step's batches. Where the last step has fewer batches than slots, an empty slot repeats the last batch
    with weight zero: every batch counts once.
    """
    steps = []
    for start in range(position, len(batches), ranks * accumulated):
        count = min(ranks * accumulated, len(batches) - start)
        last = start + count - 1
        slots = []
        for number in range(start + rank, start + math.ceil(count / ranks) * ranks, ranks):
            weight = ranks / count if number <= last else 0.0
            slots.append(BatchSlot(batches[min(number, last)], weight, number))
        steps.append(slots)
    return steps
