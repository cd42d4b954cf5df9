"""Group batches: which images train and which validate, in which order, and the images themselves, decoded ahead.

A plan is the order of an epoch's batches. It depends on the seed and the epoch alone, never on the machines.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
from torch import Tensor

from icnet import images
from icnet.training import Batch
from pipeline import tables
from pipeline.disturbance import disturb

COLUMNS = ("group", "name", "image", "sism", "mask", "digest")
Groups = Mapping[str, Sequence[int]]
"""Rows of the samples table by group."""

EXAMPLES = 64
"""Images that a network's first weights may depend on."""

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")


class SplitError(ValueError):
    """A training set that cannot be split as asked; the message says what is there."""


@dataclass(frozen=True)
class Split:
    """Groups to train on and groups to validate on; `copies`, `unmasked`: rows that neither side may use.

    `copies` are photographs of training groups that stand, byte for byte, in a validation group too.
    """

    train: dict[str, list[int]]
    validation: dict[str, list[int]]
    copies: list[int]
    unmasked: list[int]


@dataclass(frozen=True)
class Seat:
    """A batch's place in a step: its rows, its weight in the step's loss, and its number in the epoch's plan."""

    rows: tuple[int, ...]
    weight: float
    number: int


def memory_map(samples: Path, file: Path) -> pa.Table:
    """The samples that training reads, in one file that all processes of a machine share without copies."""
    if not file.is_file():
        temporary = file.with_suffix(".part")
        schema = pa.schema([tables.SAMPLES.field(name) for name in COLUMNS])
        with pa.ipc.new_file(temporary, schema) as writer:
            for shard in tables.each(samples, COLUMNS):
                writer.write_table(shard)
        temporary.replace(file)
    return open_map(file)


def open_map(file: Path) -> pa.Table:
    """The table that `memory_map` wrote."""
    return pa.ipc.open_file(pa.memory_map(str(file))).read_all()


def split(samples: pa.Table, validation: float | Sequence[str], seed: int) -> Split:
    """Hold groups out for validation: a share of them, drawn by the seed, or those that are named.

    A photograph of which a byte-identical copy stands in a validation group is taken away from training. Raises
    SplitError where nothing is left to train on, or a named group is not there.
    """
    masked = samples["mask"].is_valid().to_pylist()
    groups: dict[str, list[int]] = {}
    for row, group in enumerate(samples["group"].to_pylist()):
        if masked[row]:
            groups.setdefault(group, []).append(row)
    unmasked = [row for row, there in enumerate(masked) if not there]
    held = _held_out(sorted(groups), validation, seed)
    digests = samples["digest"].to_pylist()
    seen = {digests[row] for group in held for row in groups[group]} - {None}
    copies = [row for group in groups.keys() - held for row in groups[group] if digests[row] in seen]
    away = set(copies)
    kept = {group: [row for row in rows if row not in away] for group, rows in groups.items() if group not in held}
    train = {group: rows for group, rows in kept.items() if rows}
    if not any(len(rows) > 1 for rows in train.values()):
        raise SplitError(
            f"nothing to train on: {len(samples)} images, {len(unmasked)} without a mask, {len(held)} of"
            f" {len(groups)} groups held out for validation; a training group needs two images with masks"
        )
    return Split(train, {group: groups[group] for group in sorted(held)}, sorted(copies), unmasked)


def _held_out(groups: list[str], validation: float | Sequence[str], seed: int) -> set[str]:
    if not isinstance(validation, int | float):
        strangers = sorted(set(validation) - set(groups))
        if strangers:
            raise SplitError(f"no masked images in the validation groups {', '.join(strangers)}; there: {groups}")
        return set(validation)
    count = min(round(validation * len(groups)) or math.ceil(validation), len(groups) - 1)
    drawn = np.random.default_rng(seed).permutation(len(groups))
    return {groups[place] for place in drawn[: max(count, 0)]}


def examples(samples: pa.Table, split: Split) -> Tensor:
    """The first images of the training groups, in turn, as network input [n, 3, s, s] with n at most EXAMPLES."""
    turns = sorted((turn, row) for rows in split.train.values() for turn, row in enumerate(rows))
    pictures = [images.decode(samples["image"][row].as_py()) for _, row in turns[:EXAMPLES]]
    return images.normalise(np.stack(pictures))


def plan(groups: Groups, size: int, seed: int, epoch: int) -> list[tuple[int, ...]]:
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


def deal(batches: Sequence[tuple[int, ...]], ranks: int, rank: int, rounds: int = 1) -> list[list[Seat]]:
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
            seats.append(Seat(batches[min(number, last)], ranks / there if number <= last else 0.0, number))
        steps.append(seats)
    return steps


@dataclass(frozen=True)
class Augmentation:
    """What training does to each image: a flip with probability `flip`, shared with SISM and mask as the crop is.

    `crop`: the most that a crop takes off each side's length; `colour`: the most that brightness, contrast and
    saturation change; `disturb`: the share of SISMs that are made worse; all in [0, 1). The paper flips only.
    """

    flip: float = 0.0
    crop: float = 0.0
    colour: float = 0.0
    disturb: float = 0.0

    def __call__(self, draw: np.random.Generator, views: list[np.ndarray]) -> list[np.ndarray]:
        """An image [s, s, 3] and its maps [s, s], uint8, changed by the draw."""
        coin, share, y, x, *factors = draw.random(7)
        if coin < self.flip:
            views = [view[:, ::-1] for view in views]
        if self.crop:
            size = views[0].shape[0]
            side = round(size * (1 - self.crop * share))
            top, left = round(y * (size - side)), round(x * (size - side))
            views = [images.resize(view[top : top + side, left : left + side], (size, size)) for view in views]
        if self.colour:
            views = [self._coloured(views[0], *(1 + self.colour * (2 * factor - 1) for factor in factors)), *views[1:]]
        return views

    @staticmethod
    def _coloured(image: np.ndarray, brightness: float, contrast: float, saturation: float) -> np.ndarray:
        values = image.astype(np.float32) * brightness
        gray = values.mean(axis=2, keepdims=True)
        values = gray + (values - gray) * saturation
        mean = values.mean()
        return np.clip(mean + (values - mean) * contrast, 0, 255).astype(np.uint8)


class Loader:
    """Decodes group batches of the samples table, and augments those that are trained on."""

    def __init__(
        self, samples: pa.Table, seed: int, augmentation: Augmentation = Augmentation(), pin: bool = False
    ) -> None:
        self.samples, self.seed, self.augmentation, self.pin = samples, seed, augmentation, pin

    def __call__(self, rows: Sequence[int]) -> Batch:
        """The images as they stand in the table."""
        return self._batch([self._views(row) for row in rows], 1.0)

    def seat(self, seat: Seat, epoch: int) -> Batch:
        """A training batch; its augmentation depends on the seed, the epoch and its number in the plan alone."""
        draw = np.random.default_rng([self.seed, epoch, seat.number, 1])
        members = [self.augmentation(draw, self._views(row)) for row in seat.rows]
        if self.augmentation.disturb:
            worse = disturb(draw, np.stack([sism for _, sism, _ in members]), self.augmentation.disturb)
            members = [[image, sism, mask] for (image, _, mask), sism in zip(members, worse, strict=True)]
        return self._batch(members, seat.weight)

    def _batch(self, members: Sequence[list[np.ndarray]], weight: float) -> Batch:
        pictures, sisms, masks = (np.stack(views) for views in zip(*members, strict=True))
        batch = Batch(images.normalise(pictures), images.scale(sisms), images.scale(masks), weight)
        return batch.pin() if self.pin else batch

    def _views(self, row: int) -> list[np.ndarray]:
        maps = [images.decode_gray(self._bytes(column, row)) for column in ("sism", "mask")]
        return [images.decode(self._bytes("image", row)), *maps]

    def _bytes(self, column: str, row: int) -> bytes:
        return self.samples[column][row].as_py()


def ahead(load: Callable[[Item], Loaded], items: Iterable[Item], threads: int) -> Iterator[Loaded]:
    """`load` of every item, in order, made ahead by threads; at most two items a thread wait in memory."""
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[Loaded]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(load, item))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
