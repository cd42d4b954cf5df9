"""Shards processed by threads of this process: small collections are finished before a Ray cluster has started."""

import itertools
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeVar

import torch

from pipeline.runtime.executor import ActorPool, Item, LocalValue, Work, WorkerContext, ignore_progress

T = TypeVar("T")
R = TypeVar("R")


class StoppedError(RuntimeError):
    """The run was stopped before this job."""


@dataclass(order=True)
class _Job:
    priority: int
    number: int
    run: Callable[[], None] = field(compare=False)


class ThreadPool:
    """One thread per core, each with one torch thread. Jobs with a lower priority number run first.

    With several torch threads per job, results would depend on their number.
    """

    def __init__(self, num_threads: int | None = None) -> None:
        self._jobs: queue.PriorityQueue[_Job] = queue.PriorityQueue()
        self._numbers = itertools.count()
        self._stopped = threading.Event()
        self.num_threads = num_threads or len(os.sched_getaffinity(0))
        self._threads = [threading.Thread(target=self._run_jobs, daemon=True) for _ in range(self.num_threads)]

    def __enter__(self) -> Self:
        torch.set_num_threads(1)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        for thread in self._threads:
            thread.join()

    def stop(self) -> None:
        """Let current jobs end; all others raise StoppedError where `map` waits for them."""
        self._stopped.set()
        for _ in self._threads:
            self._jobs.put(_Job(0, next(self._numbers), lambda: None))

    def map(self, work: Callable[[T], R], items: Iterable[T], priority: int = 0) -> list[R]:
        """`work(item)` of every item, in order, computed by the threads. A job of the pool must not call this.

        Raises StoppedError after `stop`.
        """
        futures: list[Future[R]] = []
        for item in items:
            futures.append(Future())
            self._jobs.put(_Job(priority, next(self._numbers), self._make_job(futures[-1], work, item)))
        return [self._wait(future) for future in futures]

    def count_waiting_jobs(self) -> int:
        """Jobs that no thread has started."""
        return self._jobs.qsize()

    def _wait(self, future: "Future[R]") -> R:
        while not wait([future], timeout=0.5).done:
            if self._stopped.is_set():
                raise StoppedError("the run was stopped")
        return future.result()

    def _make_job(self, future: "Future[R]", work: Callable[[T], R], item: T) -> Callable[[], None]:
        def run() -> None:
            try:
                future.set_result(work(item))
            except BaseException as error:
                future.set_exception(error)

        return run

    def _run_jobs(self) -> None:
        torch.set_num_threads(1)
        while not self._stopped.is_set():
            job = self._jobs.get()
            if not self._stopped.is_set():
                job.run()


class ThreadExecutor:
    """Processes the shards of a table one after the other; readers and actors spread their batches over the pool.

    Executors may share a pool. The one with the lower priority number goes first.
    """

    def __init__(
        self, pool: ThreadPool, priority: int = 0, report_progress: Callable[[float], None] = ignore_progress
    ) -> None:
        self.pool, self.priority = pool, priority
        self.context = WorkerContext(self._map_batches, report_progress)

    @contextmanager
    def connect(self) -> Iterator[None]:
        """The pool is ready."""
        yield

    def share(self, value: T) -> LocalValue[T]:
        """A handle of the value."""
        return LocalValue(value)

    def plan_actors(self, count: int | None, gpus: float | None, wants_gpu: bool, memory: int = 0) -> ActorPool:
        """One actor, which all threads share."""
        return ActorPool(1, 0)

    def process_shards(
        self,
        shards: Sequence[Item],
        work: Work,
        pool: ActorPool,
        label: str,
        name_row: Callable[[int], str] = str,
        may_skip: bool = True,
    ) -> float:
        """Do the work with the task of every shard; returns seconds."""
        started = time.perf_counter()
        process = work.make_process() if shards else None
        for shard in shards:
            assert process is not None
            process(work.read({"number": shard.number, "start": shard.start, "stop": shard.stop, "key": shard.key}))
        return time.perf_counter() - started

    def _map_batches(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        return self.pool.map(work, items, self.priority)
