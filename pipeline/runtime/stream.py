"""Shards processed by Ray Data: tasks read them, actors compute and write them."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

import ray
import ray.data

from pipeline.runtime import cluster, entrypoint
from pipeline.runtime.executor import ActorPool, Item, Task, WorkerContext
from pipeline.runtime.progress import Progress
from pipeline.runtime.ray_progress import Counter

READER_CPUS = 0.25
ACTOR_CPUS = 0.5
"""Shares of a CPU slot: with an actor per core, slots are left for the readers that feed them."""

T = TypeVar("T")


FAILURE = "failure"
"""Column with the message of an error: Ray Data would wrap the error itself, and print its traceback twice."""


class StreamError(RuntimeError):
    """A stream that this cluster cannot run, or that a reader or an actor ended; the message is one sentence."""


@dataclass(frozen=True)
class RayValue(Generic[T]):
    """A value in Ray's object store."""

    reference: "ray.ObjectRef[T]"

    def get(self) -> T:
        """The value."""
        return ray.get(self.reference)


class RayExecutor:
    """Processes shards on the Ray cluster that RAY_ADDRESS names, else on a local one."""

    @cached_property
    def counter(self) -> Counter:
        """Counts the images that actors have done."""
        return Counter()

    @property
    def context(self) -> WorkerContext:
        """What readers and actors get."""
        return WorkerContext(report_progress=self.counter)

    def connect(self) -> AbstractContextManager[None]:
        """Join or start the cluster."""
        return cluster.connect()

    def share(self, value: T) -> RayValue[T]:
        """Put the value into Ray's object store."""
        return RayValue(ray.put(value))

    def plan_actors(self, count: int | None, gpus: float | None, wants_gpu: bool, memory: int = 0) -> ActorPool:
        """The actors that params ask for. None: one actor per GPU if the method can use one, else one per core.

        memory: bytes that an actor needs; there are only as many actors as fit into the cluster's memory, at least
        one. Raises StreamError if the cluster has too few GPUs.
        """
        available = cluster.count_gpus()
        share = gpus if gpus is not None else (1.0 if wants_gpu and available else 0.0)
        if share and share * (count or 1) > available:
            raise StreamError(
                f"{count or 1} actors with {share} GPU each are too many: the cluster has {available} GPUs"
            )
        count = count or (int(available / share) if share else cluster.count_cores())
        if memory:
            sizes = cluster.list_memory()
            memory = min(memory, max(sizes))
            count = min(count, sum(size // memory for size in sizes))
        return ActorPool(count, share, memory)

    def process_shards(
        self,
        shards: Sequence[Item],
        read: Callable[[Task], Task],
        actor: Callable[..., Callable[[Task], Task]],
        arguments: dict[str, Any],
        pool: ActorPool,
        label: str,
    ) -> float:
        """Call `read` and then an `actor(**arguments)` with the task of every shard; returns seconds.

        Raises StreamError with the message of an error that `read` or the actor raises on purpose.
        """
        if not shards:
            return 0.0
        started = time.perf_counter()
        tasks = [{"number": s.number, "start": s.start, "stop": s.stop, "key": s.key} for s in shards]
        num_readers = min(cluster.count_cores(), len(tasks))
        num_actors = min(pool.count, len(tasks))
        results = (
            ray.data.from_items(tasks, override_num_blocks=len(tasks))
            .map(_guard(read), num_cpus=READER_CPUS, compute=ray.data.TaskPoolStrategy(size=num_readers))
            .map(
                _GuardedActor,  # type: ignore[arg-type]
                fn_constructor_kwargs={"actor": actor, "arguments": arguments},
                compute=ray.data.ActorPoolStrategy(size=num_actors, max_tasks_in_flight_per_actor=2),
                num_cpus=ACTOR_CPUS,
                num_gpus=pool.gpus or None,
                memory=pool.memory or None,
            )
        )
        with Progress(label, sum(map(len, shards))) as progress, self.counter.show(progress):
            finished = 0
            for result in results.iter_rows():
                if result[FAILURE]:
                    raise StreamError(result[FAILURE])
                finished += int(result["images"])
                progress.raise_to(finished)
        return time.perf_counter() - started


def _guard(work: Callable[[Task], Task]) -> Callable[[Task], Task]:
    """`work`, with the message of an intended error as its result."""

    def run(task: Task) -> Task:
        if task.get(FAILURE):
            return _describe_failure(task, task[FAILURE])
        try:
            return {FAILURE: "", **work(task)}
        except Exception as error:
            if not entrypoint.is_intended(error):
                raise
            return _describe_failure(task, str(error))

    return run


class _GuardedActor:
    """An actor whose intended errors, also those of its constructor, become its result."""

    def __init__(self, actor: Callable[..., Callable[[Task], Task]], arguments: dict[str, Any]) -> None:
        self.failure = ""
        try:
            self.work = _guard(actor(**arguments))
        except Exception as error:
            if not entrypoint.is_intended(error):
                raise
            self.failure = str(error)

    def __call__(self, task: Task) -> Task:
        return _describe_failure(task, self.failure) if self.failure else self.work(task)


def _describe_failure(task: Task, message: str) -> Task:
    return {"number": task["number"], "images": 0, "payload": b"", FAILURE: message}
