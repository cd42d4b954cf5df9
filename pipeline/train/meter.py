"""What one rank measures in an epoch: losses, images, waiting time and memory."""

import resource
import time
from typing import Any

import torch
import torch.distributed

from icnet.training import Step, Training


class Meter:
    """What a rank counts in an epoch. Its sums travel with checkpoints, so an epoch may be resumed in the middle."""

    def __init__(self, images: int = 0, wait: float = 0.0, seconds: float = 0.0) -> None:
        self.images, self.wait = images, wait
        self.began = time.perf_counter() - seconds
        self.fresh: list[torch.Tensor] = []

    def add(self, step: Step) -> None:
        """Count a step; its loss stays on the device until `flush`."""
        self.fresh.append(step.loss)
        self.images += step.images
        self.wait += step.wait

    def flush(self, device: torch.device, ranks: int) -> list[float]:
        """The steps' mean losses since the last flush; every rank calls this and gets the same numbers."""
        if not self.fresh:
            return []
        means = _sum_over_ranks(torch.stack(self.fresh).to(device, torch.float64)) / ranks
        self.fresh.clear()
        return means.tolist()

    def state(self) -> dict[str, Any]:
        """What to make an equal meter of."""
        return {"images": self.images, "wait": self.wait, "seconds": time.perf_counter() - self.began}

    def row(self, training: Training, ranks: int) -> dict[str, float]:
        """The epoch's columns of history.csv, equal on every rank."""
        seconds = time.perf_counter() - self.began
        sums = torch.tensor([self.images, self.wait / ranks], dtype=torch.float64, device=training.device)
        images, wait = _sum_over_ranks(sums).tolist()
        groups = training.optimizer.param_groups
        return {
            "lr": groups[0]["lr"],
            "backbone_lr": groups[1]["lr"] if len(groups) > 1 else 0.0,
            "images_per_s": images / seconds,
            "wait_share": wait / seconds,
            "memory_gb": _peak_memory(training.device) / 1e9,
        }


def _sum_over_ranks(numbers: torch.Tensor) -> torch.Tensor:
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(numbers)
    return numbers


def _peak_memory(device: torch.device) -> int:
    """Most bytes that this rank has held."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
