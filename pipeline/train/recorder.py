"""The driver's side of the reports: printed, and logged to the training's one MLflow run."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.util.queue import Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from tqdm import tqdm

from pipeline.tracking import Run
from pipeline.train.reports import STEP_LOSS, Epoch, Panel, Steps, format_epoch, metric_name


@dataclass
class Recorder:
    """Prints and logs reports as they come; what a resumed training repeats, up to `step` and `epoch`, is logged once.

    Where MLflow does not answer, training goes on and the reports wait.
    """

    run: Run
    epochs: int
    step: int = 0
    epoch: int = 0
    waiting: list[Any] = field(default_factory=list)
    bar: tqdm | None = None

    def take(self, report: Steps | Epoch | Panel) -> None:
        """Print a report now, and log it with those that still wait."""
        if isinstance(report, Epoch) and report.row["epoch"] > self.epoch:
            self._close()
            print(f"train: {format_epoch(report.row, self.epochs)}", flush=True)
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
            self.run.log_image(report.picture, f"val/panel/{report.group}", report.epoch)
        elif isinstance(report, Steps):
            fresh = {step: loss for step, loss in report.losses.items() if step > self.step}
            self.run.log_curves({STEP_LOSS: fresh.values()}, start=self.step + 1)
            self.step += len(fresh)
        elif report.row["epoch"] > self.epoch:
            row = dict(report.row)
            epoch = int(row.pop("epoch"))
            self.run.log_metrics({metric_name(key): value for key, value in row.items()}, epoch)
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


@contextmanager
def receive_reports(recorder: Recorder) -> Iterator[Queue]:
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
