"""Training in plain torch: an optimiser step on the mean loss of group batches, and the loop over epochs.

Runs as it is in one process; under DistributedDataParallel every rank runs it on its own batches.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, LRScheduler, OneCycleLR, SequentialLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from icnet.loss import iou_loss

OPTIMISERS = {"adam": Adam, "adamw": AdamW}
PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
MODEL, AVERAGED, STATE = "model.safetensors", "ema.safetensors", "state.pt"
FIRST_WARMUP_RATE = 1e-3
"""Share of the rate at which a warm-up begins."""

Planned = TypeVar("Planned")


class Diverged(RuntimeError):  # noqa: N818
    """A loss that is no number any more; the message says where and what to try."""


@dataclass(frozen=True)
class Batch:
    """Images of one group with SISMs and masks, n >= 2, and the batch's weight in its step's loss."""

    images: Tensor
    sisms: Tensor
    masks: Tensor
    weight: float = 1.0

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device, copied while it computes where the batch is pinned."""
        return Batch(
            *(part.to(device, non_blocking=True) for part in (self.images, self.sisms, self.masks)), self.weight
        )

    def pin(self) -> "Batch":
        """The batch in page-locked memory."""
        return Batch(*(part.pin_memory() for part in (self.images, self.sisms, self.masks)), self.weight)


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


def optimiser(
    model: nn.Module,
    kind: str = "adam",
    rate: float = 1e-5,
    backbone_rate: float | None = None,
    weight_decay: float = 1e-4,
) -> Optimizer:
    """Adam as in section 4.1 (coupled weight decay), or AdamW.

    `backbone_rate` is for parameters of `model.backbone`, without its `top`, the sixth stage, which is new.
    """
    backbone = getattr(model, "backbone", nn.Module())
    top = {id(parameter) for parameter in getattr(backbone, "top", nn.Module()).parameters()}
    of_backbone = {id(parameter) for parameter in backbone.parameters()} - top
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    new = [parameter for parameter in trained if id(parameter) not in of_backbone]
    old = [parameter for parameter in trained if id(parameter) in of_backbone]
    groups = [{"params": new, "lr": rate}]
    if old:
        groups.append({"params": old, "lr": rate if backbone_rate is None else backbone_rate})
    return OPTIMISERS[kind](groups, lr=rate, weight_decay=weight_decay)


def schedule(optimiser: Optimizer, kind: str = "constant", steps: int = 1, warmup: float = 0.0) -> LRScheduler:
    """Rates over `steps` optimiser steps: constant, cosine (to 0) or one_cycle; `warmup` is a share of the steps.

    one_cycle rises for that share (0.3 where it is 0) to the optimiser's rates and falls to 0.
    """
    rising = round(warmup * steps)
    if kind == "one_cycle":
        rates = [group["lr"] for group in optimiser.param_groups]
        return OneCycleLR(optimiser, rates, total_steps=steps, pct_start=warmup or 0.3)
    rest = max(1, steps - rising)
    after = CosineAnnealingLR(optimiser, rest) if kind == "cosine" else ConstantLR(optimiser, 1.0, 0)
    if not rising:
        return after
    return SequentialLR(optimiser, [LinearLR(optimiser, FIRST_WARMUP_RATE, 1.0, rising), after], [rising])


class Training:
    """A model being trained, with everything that a checkpoint of the training holds.

    `parallel` is what the forward pass goes through (the model itself, or its DistributedDataParallel), `ema` the
    decay of the averaged weights, `epoch` and `position` count finished epochs and steps of the running one.
    """

    def __init__(
        self,
        model: nn.Module,
        optimiser: Optimizer,
        schedule: LRScheduler,
        parallel: nn.Module | None = None,
        precision: str = "float32",
        clip: float | None = None,
        ema: float | None = None,
    ) -> None:
        self.model, self.optimiser, self.schedule = model, optimiser, schedule
        self.parallel = model if parallel is None else parallel
        self.dtype, self.clip = PRECISIONS[precision], clip
        self.device = next(model.parameters()).device
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype is torch.float16)
        average = get_ema_multi_avg_fn(ema) if ema is not None else None
        self.averaged = AveragedModel(model, multi_avg_fn=average, use_buffers=True) if average else None
        self.epoch = self.position = 0

    @property
    def best_model(self) -> nn.Module:
        """The weights to validate and to keep: the averaged ones where there are any."""
        return self.averaged.module if self.averaged is not None else self.model

    def autocast(self) -> torch.autocast:
        """The context that computes at the training's precision."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32)

    def step(self, batches: Sequence[Batch]) -> Tensor:
        """One optimiser step on the weighted sum of the batches' losses, which it returns (a scalar, detached)."""
        self.model.train()
        total = torch.zeros((), device=self.device)
        for number, batch in enumerate(batches):
            silent = isinstance(self.parallel, DistributedDataParallel) and number < len(batches) - 1
            with self.parallel.no_sync() if silent else nullcontext():
                with self.autocast():
                    maps = self.parallel(batch.images, batch.sisms)
                loss = batch.weight * iou_loss(maps.float(), batch.masks)
                self.scaler.scale(loss).backward()
            total += loss.detach()
        if self.clip is not None:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        self.schedule.step()
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)
        return total

    def save(self, folder: Path, **extra: Any) -> None:
        """Write model, averaged model and state into a folder; `extra` travels with the state."""
        save_model(self.model, str(folder / MODEL))
        state = {
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "epoch": self.epoch,
            "position": self.position,
            "extra": extra,
        }
        if self.averaged is not None:
            save_model(self.averaged.module, str(folder / AVERAGED))
            state["averaged"] = int(self.averaged.n_averaged)
        torch.save(state, folder / STATE)

    def load(self, folder: Path) -> dict[str, Any]:
        """Go on where `save` was called; returns its `extra`."""
        load_model(self.model, str(folder / MODEL), device=str(self.device))
        state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        if self.averaged is not None:
            load_model(self.averaged.module, str(folder / AVERAGED), device=str(self.device))
            self.averaged.n_averaged.fill_(state["averaged"])
        self.epoch, self.position = state["epoch"], state["position"]
        return state["extra"]


def load_best(model: nn.Module, folder: Path) -> None:
    """Fill the model with the weights to keep of a saved training."""
    averaged = folder / AVERAGED
    load_model(model, str(averaged if averaged.is_file() else folder / MODEL))


def extra(folder: Path) -> dict[str, Any]:
    """What was given to `Training.save` as `extra`. Raises OSError or RuntimeError where a file was cut off."""
    state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    for file in [MODEL, *([AVERAGED] if "averaged" in state else [])]:
        try:
            with safe_open(folder / file, framework="pt"):
                pass
        except SafetensorError as error:
            raise RuntimeError(f"{folder / file} is cut off: {error}") from error
    return state["extra"]


def run(
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


def check(losses: Sequence[float], epoch: int) -> None:
    """Raise Diverged where a loss is no number."""
    if not all(map(math.isfinite, losses)):
        raise Diverged(f"the loss is not finite any more in epoch {epoch}: try a lower rate, `clip`, or float32")
