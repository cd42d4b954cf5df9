"""The order of an epoch's batches, and which rank computes which.

The order depends on the seed and the epoch alone, never on the machines.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.train.split import Groups


@dataclass(frozen=True)
class BatchSlot:
    """A batch's place in a step: its rows, its weight in the step's loss, and its number in the epoch's plan."""

    rows: tuple[int, ...]
    weight: float
    number: int


def plan_epoch(groups: Groups, size: int, seed: int, epoch: int) -> list[tuple[int, ...]]:
    """An epoch's batches of about `size` images: every group shuffled and cut, all batches shuffled.

    A last batch of one image joins the batch before it; a group of one image has no batch (batch norm needs two).
    """
    draw = np.random.default_rng([seed, epoch])
    cut: list[tuple[int, ...]] = []
    for group in sorted(groups):
        rows = draw.permutation(np.asarray(groups[group])).tolist()
        if len(rows) == 1:
            continue
        pieces = [rows[start : start + size] for start in range(0, len(rows), size)]
        if len(pieces[-1]) == 1:
            pieces[-2:] = [pieces[-2] + pieces[-1]]
        cut += map(tuple, pieces)
    return [cut[place] for place in draw.permutation(len(cut))]


def assign_to_rank(batches: Sequence[tuple[int, ...]], ranks: int, rank: int, rounds: int = 1) -> list[list[BatchSlot]]:
    """One rank's seats in every step of a plan: a step takes `ranks` x `rounds` batches, dealt round by round.

    Weights make the ranks' average the mean over the step's batches. Where the last step has fewer batches than
    seats, an empty seat repeats its last batch with weight zero: nothing is lost, nothing counts twice.
    """
    steps = []
    for start in range(0, len(batches), ranks * rounds):
        there = min(ranks * rounds, len(batches) - start)
        seats = []
        for number in range(start + rank, start + math.ceil(there / ranks) * ranks, ranks):
            last = start + there - 1
            seats.append(BatchSlot(batches[min(number, last)], ranks / there if number <= last else 0.0, number))
        steps.append(seats)
    return steps
