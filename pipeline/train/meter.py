"""What one rank measures in an epoch: losses, images, waiting time and memory."""

import resource
import time
from typing import Any

import torch
import torch.distributed

from icnet.training import Step, Training, read_rates


class Meter:
    """Sums over the steps of an epoch. They are stored in checkpoints, so that an epoch can continue.

    `images`: of this rank; `wait`: seconds that it waited for data; `seconds`: since the epoch began; `loss`: sum of
    the losses of `batches` batches of all ranks.
    """

    def __init__(
        self, images: int = 0, wait: float = 0.0, seconds: float = 0.0, loss: float = 0.0, batches: int = 0
    ) -> None:
        self.images, self.wait, self.loss, self.batches = images, wait, loss, batches
        self.began = time.perf_counter() - seconds
        self.fresh: list[Step] = []

    def add(self, step: Step) -> None:
        """Count a step; its loss stays on the device until `flush`."""
        self.fresh.append(step)
        self.images += step.images
        self.wait += step.wait

    def flush(self, device: torch.device, ranks: int) -> list[float]:
        """The mean losses of the steps since the last flush; every rank calls this and gets the same numbers."""
        if not self.fresh:
            return []
        losses = torch.stack([step.loss for step in self.fresh]).to(device, torch.float64)
        means = (_sum_over_ranks(losses) / ranks).tolist()
        for step, mean in zip(self.fresh, means, strict=True):
            self.loss += mean * step.batches
            self.batches += step.batches
        self.fresh.clear()
        return means

    def state(self) -> dict[str, Any]:
        """The arguments of an equal meter."""
        sums = {"images": self.images, "wait": self.wait, "loss": self.loss, "batches": self.batches}
        return {**sums, "seconds": time.perf_counter() - self.began}

    def summarize(self, training: Training, ranks: int) -> dict[str, float]:
        """The epoch's columns of history.csv, equal on every rank."""
        seconds = time.perf_counter() - self.began
        sums = torch.tensor([self.images, self.wait / ranks], dtype=torch.float64, device=training.device)
        images, wait = _sum_over_ranks(sums).tolist()
        rates = read_rates(training.optimizer)
        return {
            "train_loss": self.loss / self.batches,
            "lr": rates["new"],
            "backbone_lr": rates["backbone"],
            "images_per_s": images / seconds,
            "wait_share": wait / seconds,
            "memory_gb": _measure_peak_memory(training.device) / 1e9,
        }


def _sum_over_ranks(numbers: torch.Tensor) -> torch.Tensor:
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(numbers)
    return numbers


def _measure_peak_memory(device: torch.device) -> int:
    """The largest number of bytes that this rank has used."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
