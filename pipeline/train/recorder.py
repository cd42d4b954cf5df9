"""The driver's side of the reports: print them, and log them to the training's one MLflow run."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import ray
from ray.util.queue import Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from tqdm import tqdm

from pipeline.runtime.progress import SECONDS_BETWEEN_LINES
from pipeline.tracking import MOST_METRICS, Run
from pipeline.train.reports import (
    STEP_LOSS,
    Divergence,
    Epoch,
    Panel,
    Report,
    Steps,
    format_duration,
    format_epoch,
    metric_name,
)

FIRST_PAUSE, LONGEST_PAUSE = 15.0, 240.0
"""Seconds without an attempt to log after MLflow failed; each failure doubles them."""


@dataclass
class Recorder:
    """Prints and logs reports. `step` and `epoch` are the last ones in the MLflow run: a resumed training repeats
    reports, and each is logged once.

    Where MLflow does not answer, the training continues, reports wait here, and after a pause they are tried again.
    """

    run: Run
    epochs: int
    step: int = 0
    epoch: int = 0
    losses: list[float] = field(default_factory=list)
    waiting: list[Epoch | Panel] = field(default_factory=list)
    divergence: str | None = None
    printed: int = field(init=False)
    pause: float = 0.0
    next_attempt: float = 0.0
    bar: tqdm | None = None
    first_report: tuple[float, int] | None = None
    last_line: float = 0.0

    def __post_init__(self) -> None:
        self.printed = self.epoch

    def take(self, report: Report) -> None:
        """Print a report and log it, with those that wait, unless MLflow failed a short time ago."""
        if isinstance(report, Steps):
            known = self.step + len(self.losses)
            self.losses += report.losses[max(0, known + 1 - report.first) :]
            self._show_progress(report)
        elif isinstance(report, Divergence):
            self.divergence = report.message
        else:
            self.waiting.append(report)
            if isinstance(report, Epoch):
                self._print(report)
        if time.monotonic() >= self.next_attempt:
            self._try_flush()

    def flush(self) -> None:
        """Log all that waits. Raises what MLflow raises."""
        while part := self.losses[:MOST_METRICS]:
            self.run.log_curves({STEP_LOSS: part}, start=self.step + 1)
            self.step += len(part)
            del self.losses[: len(part)]
        while self.waiting:
            self._log(self.waiting[0])
            self.waiting.pop(0)

    def _try_flush(self) -> None:
        try:
            self.flush()
        except Exception as error:
            if not self.pause:
                print(f"train: MLflow does not answer ({error}); training continues, reports wait", file=sys.stderr)
            self.pause = min(2 * self.pause or FIRST_PAUSE, LONGEST_PAUSE)
            self.next_attempt = time.monotonic() + self.pause
        else:
            if self.pause:
                print("train: MLflow answers again, all reports are logged", file=sys.stderr)
            self.pause = 0.0

    def _log(self, report: Epoch | Panel) -> None:
        if isinstance(report, Panel):
            self.run.log_image(report.picture, f"val/panel/{report.group}", report.epoch)
        elif (epoch := int(report.row["epoch"])) > self.epoch:
            values = {metric_name(column): value for column, value in report.row.items() if column != "epoch"}
            self.run.log_metrics(values, epoch)
            self.epoch = epoch

    def _print(self, report: Epoch) -> None:
        if report.row["epoch"] <= self.printed:
            return
        self.printed = int(report.row["epoch"])
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        print(f"train: {format_epoch(report.row, self.epochs)}", flush=True)

    def _show_progress(self, report: Steps) -> None:
        if report.done == report.total:
            return
        if not sys.stderr.isatty():
            self._print_step(report)
        elif self.bar is None:
            label = f"epoch {report.epoch}/{self.epochs}"
            self.bar = tqdm(total=report.total, desc=label, unit="batch", leave=False)
        if self.bar is not None:
            self.bar.update(report.done - self.bar.n)

    def _print_step(self, report: Steps) -> None:
        """Print a line now and then, with the time that is left at the speed since the first report."""
        now, finished = time.monotonic(), (report.epoch - 1) * report.total + report.done
        if self.first_report is None or finished <= self.first_report[1]:  # the first, or after a restart
            self.first_report, self.last_line = (now, finished), now
            return
        if now - self.last_line < SECONDS_BETWEEN_LINES:
            return
        self.last_line = now
        began, finished_before = self.first_report
        left = (now - began) / (finished - finished_before) * (self.epochs * report.total - finished)
        place = f"epoch {report.epoch}/{self.epochs}  batch {report.done} of {report.total}"
        print(f"train: {place}  loss {report.losses[-1]:.4f}  {format_duration(left)} to go", flush=True)


@contextmanager
def receive_reports(recorder: Recorder) -> Iterator[Queue]:
    """A queue for the workers' reports. A thread gives them to the recorder until the block ends."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    queue = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
    thread = threading.Thread(target=_forward_reports, args=(queue, recorder), daemon=True)
    thread.start()
    try:
        yield queue
    finally:
        queue.put(None)
        thread.join()
        queue.shutdown()


def _forward_reports(queue: Queue, recorder: Recorder) -> None:
    while (report := queue.get()) is not None:
        with suppress(BrokenPipeError):  # nobody reads the output any more; the reports are still recorded
            recorder.take(report)
