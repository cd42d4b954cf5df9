"""The state of a training: one optimizer step, and all that a checkpoint holds.

It runs in one process, or under DistributedDataParallel on every rank with the rank's own batches.
"""

import pickle
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from icnet.inference import compile_parts
from icnet.loss import LOSSES
from icnet.model import ICNet
from icnet.precision import PRECISIONS
from icnet.training.batch import Batch
from icnet.training.layout import EpochLayout
from icnet.training.pooling import SivSources
from icnet.training.ranks import broadcast_buffers, broadcast_state

MODEL_FILE, EMA_FILE, STATE_FILE = "model.safetensors", "ema.safetensors", "state.pt"


class DamagedCheckpointError(RuntimeError):
    """A checkpoint with a missing or incomplete file."""


class Training:
    """A model in training, with all that a checkpoint holds.

    `parallel` runs the forward pass: the model itself, or its DistributedDataParallel (with `broadcast_buffers=False`,
    as every step broadcasts them). `ema_decay` is the decay of the averaged weights. `layout` divides epochs into
    steps; `loss` is a name in `icnet.loss.LOSSES`; `siv_sources` says what SIVs are pooled from. With `joint` the
    batches of a step go through the network together, and batch norms see all their images. `epoch` counts finished
    epochs and `position` finished batches of the next one. Parts without a trained parameter stay in evaluation mode,
    so that their batch norms do not move.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        schedule: LRScheduler,
        parallel: nn.Module | None = None,
        precision: str = "float32",
        grad_clip_norm: float | None = None,
        ema_decay: float | None = None,
        layout: EpochLayout = EpochLayout(),  # noqa: B008 (frozen)
        loss: str = "iou",
        siv_sources: SivSources = SivSources(),  # noqa: B008 (frozen)
        joint: bool = False,
    ) -> None:
        self.model, self.optimizer, self.schedule = model, optimizer, schedule
        self.parallel = model if parallel is None else parallel
        self.dtype, self.grad_clip_norm = PRECISIONS[precision], grad_clip_norm
        self.device = next(model.parameters()).device
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype is torch.float16)
        self.averaged: AveragedModel | None = None
        if ema_decay is not None:
            average = get_ema_multi_avg_fn(ema_decay)
            self.averaged = AveragedModel(model, multi_avg_fn=average, use_buffers=True)
            copy = self.averaged.module
            if isinstance(copy, ICNet) and copy.compiled:  # copies lose what was compiled
                compile_parts(copy)
        self.layout, self.loss, self.siv_sources = layout, LOSSES[loss], siv_sources
        self.joint = joint
        self.epoch = self.position = 0
        self._frozen = _find_frozen(model)

    @property
    def best_model(self) -> nn.Module:
        """The weights to validate and to keep: the averaged ones where there are any."""
        return self.model if self.averaged is None else self.averaged.module

    def autocast(self) -> torch.autocast:
        """A context that computes at the training's precision."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32)

    def step(self, batches: Sequence[Batch]) -> Tensor:
        """One optimizer step on the weighted sum of the batches' losses; returns that sum (a scalar, detached).

        Where fp16 gradients overflow, the weights stay and the schedule and the averaged weights wait.
        """
        self._set_modes()
        total = torch.zeros((), device=self.device)
        parts = [batches] if self.joint else [[batch] for batch in batches]
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            waits = not last and isinstance(self.parallel, DistributedDataParallel)
            with self.parallel.no_sync() if waits else nullcontext():  # type: ignore[operator]
                total += self._backward(part)
        updated = self._update_weights()
        broadcast_buffers(self.model)
        if updated:
            self.schedule.step()
            if self.averaged is not None:
                self.averaged.update_parameters(self.model)
        return total

    def share_best_model(self) -> None:
        """Give every rank rank 0's weights to keep, so that all ranks validate the model that is saved."""
        broadcast_state(self.best_model)

    def save(self, folder: Path, **extra: Any) -> None:
        """Write model, averaged model and state into a folder; `extra` is stored with the state."""
        save_model(self.model, str(folder / MODEL_FILE))
        state: dict[str, Any] = {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "epoch": self.epoch,
            "position": self.position,
            "step_batches": self.layout.step_batches,
            "extra": extra,
        }
        if self.averaged is not None:
            save_model(self.averaged.module, str(folder / EMA_FILE))
            state["averaged"] = int(self.averaged.n_averaged)
        torch.save(state, folder / STATE_FILE)

    def load(self, folder: Path) -> dict[str, Any]:
        """Continue where `save` was called; returns its `extra`.

        Where a step now has another number of batches (another number of ranks), the schedule starts at the same share
        of the training.
        """
        load_model(self.model, str(folder / MODEL_FILE), device=str(self.device))
        state: dict[str, Any] = torch.load(folder / STATE_FILE, map_location="cpu", weights_only=True)
        self.epoch, self.position = state["epoch"], state["position"]
        self._load_optimizer(state)
        self.scaler.load_state_dict(state["scaler"])
        if self.averaged is not None:
            load_model(self.averaged.module, str(folder / EMA_FILE), device=str(self.device))
            self.averaged.n_averaged.fill_(state["averaged"])
        extra: dict[str, Any] = state["extra"]
        return extra

    def _set_modes(self) -> None:
        self.model.train()
        for module in self._frozen:
            module.eval()

    def _backward(self, batches: Sequence[Batch]) -> Tensor:
        """Add the gradient of the weighted losses of batches, which go through the network together; returns the sum
        of the losses, detached."""
        batch = batches[0] if len(batches) == 1 else Batch.merge(batches)
        with self.autocast():
            pooled = self.siv_sources.choose(self.model, batch)
            given = {"pooled": pooled, "stored": batch.stored or None, "sizes": batch.sizes or None}
            options = {name: value for name, value in given.items() if value is not None}
            maps = self.parallel(batch.images, batch.sisms, **options)
        parts = zip(torch.split(maps.float(), list(map(len, batches))), batches, strict=True)
        loss = torch.stack([one.weight * self.loss(part, one.masks) for part, one in parts]).sum()
        self.scaler.scale(loss).backward()
        return loss.detach()

    def _update_weights(self) -> bool:
        """Take the optimizer step; False where fp16 gradients overflowed and it was skipped."""
        if self.grad_clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.grad_clip_norm)
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return self.scaler.get_scale() >= scale

    def _load_optimizer(self, state: dict[str, Any]) -> None:
        if state["step_batches"] == self.layout.step_batches:
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            return
        fresh = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({**state["optimizer"], "param_groups": fresh})
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
            for _ in range(self.layout.count_steps(self.epoch, self.position)):
                self.schedule.step()


def load_best_weights(model: nn.Module, folder: Path) -> None:
    """Fill the model with the weights to keep of a saved training."""
    averaged = folder / EMA_FILE
    load_model(model, str(averaged if averaged.is_file() else folder / MODEL_FILE))


def read_extra(folder: Path) -> dict[str, Any]:
    """The `extra` of `Training.save`. Raises DamagedCheckpointError where a file is missing or incomplete."""
    try:
        state = torch.load(folder / STATE_FILE, map_location="cpu", weights_only=True)
        for name in [MODEL_FILE, *([EMA_FILE] if "averaged" in state else [])]:
            with safe_open(folder / name, framework="pt"):
                pass
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError, SafetensorError) as error:
        raise DamagedCheckpointError(f"{folder} is not a whole checkpoint: {error}") from error
    extra: dict[str, Any] = state["extra"]
    return extra


def _find_frozen(model: nn.Module) -> list[nn.Module]:
    """Modules that have parameters, none of which is trained."""
    frozen = []
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            frozen.append(module)
    return frozen
