"""The training loop. It can stop after any step and continue there."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from icnet.training.batch import Batch
from icnet.training.state import Training

PlannedStep = TypeVar("PlannedStep")


class DivergedError(RuntimeError):
    """The loss is not a finite number; the message names the epoch and what to change."""


@dataclass(frozen=True)
class Step:
    """A finished optimizer step.

    `epoch` counts from 1; `position` of `total` batches of the epoch are done, `batches` of them in this step, over all
    ranks. `loss` is this rank's share of the step's mean loss, `images` the number of images in it on this rank,
    `wait` the seconds that the rank waited for data.
    """

    epoch: int
    position: int
    total: int
    batches: int
    loss: Tensor
    images: int
    wait: float

    @property
    def ends_epoch(self) -> bool:
        """Whether this was the last step of its epoch."""
        return self.position == self.total


def run_steps(
    training: Training,
    epochs: int,
    plan: Callable[[int, int], Sequence[PlannedStep]],
    load: Callable[[int, Sequence[PlannedStep]], Iterable[Sequence[Batch]]],
    seed: int = 0,
) -> Iterator[Step]:
    """Train to the end of `epochs`; yield after every step, when the training can be saved.

    `plan(epoch, position)` lists the steps that are left of an epoch (from 0) after `position` batches;
    `load(epoch, steps)` gives this rank's batches of each step. Random numbers depend only on (seed, epoch, position).
    """
    total, per_step = training.layout.num_batches, training.layout.step_batches
    while training.epoch < epochs:
        epoch, start = training.epoch, training.position
        steps = plan(epoch, start)
        loaded = iter(load(epoch, steps))
        for done in range(start, total, per_step):
            began = time.perf_counter()
            batches = next(loaded)
            wait = time.perf_counter() - began
            torch.manual_seed(hash((seed, epoch, done)))
            loss = training.step(batches)
            position = min(done + per_step, total)
            training.epoch, training.position = (epoch + 1, 0) if position == total else (epoch, position)
            images = sum(len(batch) for batch in batches if batch.weight)
            yield Step(epoch + 1, position, total, position - done, loss, images, wait)


def check_losses(losses: Sequence[float], epoch: int) -> None:
    """Raise DivergedError where a loss is not finite."""
    if not all(map(math.isfinite, losses)):
        raise DivergedError(
            f"the loss is not finite in epoch {epoch}: try a lower `lr`, a `grad_clip_norm` or `precision: float32`"
        )
