"""The training loop: one step after another, resumable after any step."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from icnet.training.batch import Batch
from icnet.training.state import Training

Planned = TypeVar("Planned")


class DivergedError(RuntimeError):
    """A loss that is no number any more; the message says where and what to try."""


@dataclass(frozen=True)
class Step:
    """What the loop did last: step `position` of `steps` in `epoch` (both from 1).

    `loss` is this rank's share of the step's mean loss, `images` how many of them it trained on, `wait` the seconds
    that it waited for data, `ends` whether the epoch is over.
    """

    epoch: int
    position: int
    steps: int
    loss: Tensor
    images: int
    wait: float

    @property
    def ends(self) -> bool:
        """Whether this was the epoch's last step."""
        return self.position == self.steps


def run_steps(
    training: Training,
    epochs: int,
    plan: Callable[[int], Sequence[Planned]],
    load: Callable[[int, Sequence[Planned]], Iterable[Sequence[Batch]]],
    seed: int = 0,
) -> Iterator[Step]:
    """Train until `epochs` are over and yield after every step, when the training's state is whole.

    `plan(epoch)` lists an epoch's steps, `load(epoch, steps)` gives the batches of each. Random numbers are seeded by
    (seed, epoch, step), so a training that was loaded in the middle goes on as if it had never stopped.
    """
    while training.epoch < epochs:
        epoch, steps = training.epoch, plan(training.epoch)
        loaded = iter(load(epoch, steps[training.position :]))
        for position in range(training.position, len(steps)):
            began = time.perf_counter()
            batches = next(loaded)
            wait = time.perf_counter() - began
            torch.manual_seed(hash((seed, epoch, position)))
            loss = training.step(batches)
            training.position = position + 1
            if training.position == len(steps):
                training.epoch, training.position = epoch + 1, 0
            images = sum(len(batch) for batch in batches if batch.weight)
            yield Step(epoch + 1, position + 1, len(steps), loss, images, wait)


def check_losses(losses: Sequence[float], epoch: int) -> None:
    """Raise Diverged where a loss is no number."""
    if not all(map(math.isfinite, losses)):
        raise DivergedError(
            f"the loss is not finite any more in epoch {epoch}: try a lower `lr`, `grad_clip_norm`, or float32"
        )
