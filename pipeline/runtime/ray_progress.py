"""Progress of actors on a Ray cluster: they count images in one small actor on the driver's machine, which it asks."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.runtime.progress import Progress

SECONDS_BETWEEN_REPORTS = 0.5


class _Count:
    def __init__(self) -> None:
        self.value = 0.0

    def add(self, value: float) -> None:
        self.value += value

    def read(self) -> float:
        return self.value


class Counter:
    """Counts images. Workers get a copy and call it; reports of less than half a second are joined."""

    def __init__(self) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.actor: Any = ray.remote(num_cpus=0)(_Count).options(scheduling_strategy=here).remote()
        self._waiting, self._last = 0.0, 0.0
        self._shown_before = 0.0

    def __call__(self, count: float) -> None:
        """Add `count` images; a fraction is a step of several."""
        self._waiting += count
        if time.monotonic() - self._last >= SECONDS_BETWEEN_REPORTS:
            self.actor.add.remote(self._waiting)
            self._waiting, self._last = 0.0, time.monotonic()

    def read(self) -> float:
        """Images that were reported since the counter was made."""
        return float(ray.get(self.actor.read.remote()))

    @contextmanager
    def show(self, progress: Progress) -> Iterator[None]:
        """Show in `progress` what is counted during a block."""
        stop = threading.Event()
        thread = threading.Thread(target=self._follow, args=(progress, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _follow(self, progress: Progress, stop: threading.Event) -> None:
        try:
            while not stop.wait(SECONDS_BETWEEN_REPORTS):
                progress.raise_to(self.read() - self._shown_before)
            self._shown_before = self.read()
        except ray.exceptions.RayError:  # the bar then moves with finished shards
            pass
