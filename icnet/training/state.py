"""The state of a training: one optimizer step, and everything that a checkpoint holds.

Runs as it is in one process; under DistributedDataParallel every rank runs it on its own batches.
"""

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

from icnet.loss import iou_loss
from icnet.training.batch import Batch

PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

MODEL_FILE, EMA_FILE, STATE_FILE = "model.safetensors", "ema.safetensors", "state.pt"


class Training:
    """A model being trained, with everything that a checkpoint of the training holds.

    `parallel` is what the forward pass goes through (the model itself, or its DistributedDataParallel), `ema_decay` the
    decay of the averaged weights, `epoch` and `position` count finished epochs and steps of the running one.
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
    ) -> None:
        self.model, self.optimizer, self.schedule = model, optimizer, schedule
        self.parallel = model if parallel is None else parallel
        self.dtype, self.grad_clip_norm = PRECISIONS[precision], grad_clip_norm
        self.device = next(model.parameters()).device
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype is torch.float16)
        average = get_ema_multi_avg_fn(ema_decay) if ema_decay is not None else None
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
        """One optimizer step on the weighted sum of the batches' losses, which it returns (a scalar, detached)."""
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
        if self.grad_clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.grad_clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)
        return total

    def save(self, folder: Path, **extra: Any) -> None:
        """Write model, averaged model and state into a folder; `extra` travels with the state."""
        save_model(self.model, str(folder / MODEL_FILE))
        state = {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "epoch": self.epoch,
            "position": self.position,
            "extra": extra,
        }
        if self.averaged is not None:
            save_model(self.averaged.module, str(folder / EMA_FILE))
            state["averaged"] = int(self.averaged.n_averaged)
        torch.save(state, folder / STATE_FILE)

    def load(self, folder: Path) -> dict[str, Any]:
        """Go on where `save` was called; returns its `extra`."""
        load_model(self.model, str(folder / MODEL_FILE), device=str(self.device))
        state = torch.load(folder / STATE_FILE, map_location="cpu", weights_only=True)
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        if self.averaged is not None:
            load_model(self.averaged.module, str(folder / EMA_FILE), device=str(self.device))
            self.averaged.n_averaged.fill_(state["averaged"])
        self.epoch, self.position = state["epoch"], state["position"]
        return state["extra"]


def load_best_weights(model: nn.Module, folder: Path) -> None:
    """Fill the model with the weights to keep of a saved training."""
    averaged = folder / EMA_FILE
    load_model(model, str(averaged if averaged.is_file() else folder / MODEL_FILE))


def read_extra(folder: Path) -> dict[str, Any]:
    """What was given to `Training.save` as `extra`. Raises OSError or RuntimeError where a file was cut off."""
    state = torch.load(folder / STATE_FILE, map_location="cpu", weights_only=True)
    for file in [MODEL_FILE, *([EMA_FILE] if "averaged" in state else [])]:
        try:
            with safe_open(folder / file, framework="pt"):
                pass
        except SafetensorError as error:
            raise RuntimeError(f"{folder / file} is cut off: {error}") from error
    return state["extra"]
