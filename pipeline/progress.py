"""What a training says while it runs: the workers send reports, the driver prints them and logs them to its one run."""

import resource
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
import torch
import torch.distributed
from ray.util.queue import Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from tqdm import tqdm

from icnet.training import Step, Training

if TYPE_CHECKING:  # a worker has no use for MLflow, which takes seconds to import
    from pipeline.tracking import Run

STEP_LOSS, EPOCH_LOSS = "train/step_loss", "train/loss"
"""Metrics of every step and of every epoch, by their numbers."""


@dataclass(frozen=True)
class Steps:
    """Mean losses of steps since the last report, by their number since the training began; `done` of `all`."""

    losses: dict[int, float]
    epoch: int = 0
    done: int = 0
    all: int = 0


@dataclass(frozen=True)
class Epoch:
    """A row of history.csv."""

    row: dict[str, float]


@dataclass(frozen=True)
class Panel:
    """A picture of a validation group at the end of an epoch, uint8 RGB."""

    group: str
    epoch: int
    picture: np.ndarray


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
        means = _summed(torch.stack(self.fresh).to(device, torch.float64)) / ranks
        self.fresh.clear()
        return means.tolist()

    def state(self) -> dict[str, Any]:
        """What to make an equal meter of."""
        return {"images": self.images, "wait": self.wait, "seconds": time.perf_counter() - self.began}

    def row(self, training: Training, ranks: int) -> dict[str, float]:
        """The epoch's columns of history.csv, equal on every rank."""
        seconds = time.perf_counter() - self.began
        sums = torch.tensor([self.images, self.wait / ranks], dtype=torch.float64, device=training.device)
        images, wait = _summed(sums).tolist()
        groups = training.optimiser.param_groups
        return {
            "rate": groups[0]["lr"],
            "backbone_rate": groups[1]["lr"] if len(groups) > 1 else 0.0,
            "images_per_s": images / seconds,
            "wait_share": wait / seconds,
            "memory_gb": _memory(training.device) / 1e9,
        }


def _summed(numbers: torch.Tensor) -> torch.Tensor:
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(numbers)
    return numbers


def _memory(device: torch.device) -> int:
    """Most bytes that this rank has held."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@dataclass
class Recorder:
    """Prints and logs reports as they come; what a resumed training repeats, up to `step` and `epoch`, is logged once.

    Where MLflow does not answer, training goes on and the reports wait.
    """

    run: "Run"
    epochs: int
    step: int = 0
    epoch: int = 0
    waiting: list[Any] = field(default_factory=list)
    bar: tqdm | None = None

    def take(self, report: Steps | Epoch | Panel) -> None:
        """Print a report now, and log it with those that still wait."""
        if isinstance(report, Epoch) and report.row["epoch"] > self.epoch:
            self._close()
            print(f"train: {line(report.row, self.epochs)}", flush=True)
        elif isinstance(report, Steps):
            self._advance(report)
        self.waiting.append(report)
        self.flush()

    def flush(self, patient: bool = True) -> None:
        """Log what waits; `patient` leaves it waiting where MLflow fails, and says so."""
        try:
            while self.waiting:
                self._log(self.waiting[0])
                self.waiting.pop(0)
        except Exception as error:
            if not patient:
                raise
            print(f"train: MLflow does not take reports ({error}); training goes on, they wait", file=sys.stderr)

    def _log(self, report: Steps | Epoch | Panel) -> None:
        if isinstance(report, Panel):
            self.run.image(report.picture, f"val/panel/{report.group}", report.epoch)
        elif isinstance(report, Steps):
            fresh = {step: loss for step, loss in report.losses.items() if step > self.step}
            self.run.curves({STEP_LOSS: fresh.values()}, start=self.step + 1)
            self.step += len(fresh)
        elif report.row["epoch"] > self.epoch:
            row = dict(report.row)
            epoch = int(row.pop("epoch"))
            self.run.metrics({named(key): value for key, value in row.items()}, epoch)
            self.epoch = epoch

    def _advance(self, report: Steps) -> None:
        if not sys.stderr.isatty() or report.done == report.all:
            return
        if self.bar is None:
            label = f"epoch {report.epoch}/{self.epochs}"
            self.bar = tqdm(total=report.all, desc=label, unit="step", leave=False)
        self.bar.update(report.done - self.bar.n)

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def named(key: str) -> str:
    """A column of history.csv as a metric: `val_max_f` is `val/max_f`, `images_per_s` is `train/images_per_s`."""
    section, _, rest = key.partition("_")
    return f"{section}/{rest}" if section in ("train", "val") else f"train/{key}"


def line(row: dict[str, float], epochs: int) -> str:
    """An epoch for a person."""
    left = (epochs - row["epoch"]) * row["seconds"]
    text = f"epoch {int(row['epoch'])}/{epochs}  {scores(row)}  {row['images_per_s']:.1f} images/s"
    return text + (f"  {duration(left)} to go" if left else "")


def scores(row: dict[str, float]) -> str:
    """Losses and validation scores of an epoch for a person."""
    text = f"loss {row['train_loss']:.4f}"
    if "val_loss" not in row:
        return text
    return text + "  val loss {val_loss:.4f} max F {val_max_f:.3f} S {val_s:.3f} MAE {val_mae:.3f}".format(**row)


def duration(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


@contextmanager
def following(recorder: Recorder) -> Iterator[Queue]:
    """A queue for the workers' reports; a thread hands them to the recorder until the block ends."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    queue = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
    thread = threading.Thread(target=_follow, args=(queue, recorder), daemon=True)
    thread.start()
    try:
        yield queue
    finally:
        queue.put(None)
        thread.join()
        queue.shutdown()


def _follow(queue: Queue, recorder: Recorder) -> None:
    while (report := queue.get()) is not None:
        recorder.take(report)
