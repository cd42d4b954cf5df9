"""Shards processed by Ray Data: tasks read them, actors compute and write them."""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

import ray
import ray.data
from ray.util.annotations import RayDeprecationWarning

from pipeline.runtime import cluster
from pipeline.runtime.crashes import MAX_DEATHS, Rescue
from pipeline.runtime.executor import ActorPool, Item, Task, Work, WorkerContext
from pipeline.runtime.guards import GuardedActor, StreamError, check_result, guard
from pipeline.runtime.progress import Progress
from pipeline.runtime.ray_progress import Counter

READER_CPUS = 0.25
ACTOR_CPUS = 0.5
"""Shares of a CPU slot: with an actor per core, slots are left for the readers that feed them."""

FINISHER_CPUS = 1.0
"""CPU slots of a task that finishes what an actor with a GPU computed."""

T = TypeVar("T")


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
        return ActorPool(count, share, memory, finishes_apart=share > 0)

    def process_shards(
        self,
        shards: Sequence[Item],
        work: Work,
        pool: ActorPool,
        label: str,
        name_row: Callable[[int], str] = str,
        may_skip: bool = True,
    ) -> float:
        """Do the work with the task of every shard; returns seconds.

        Where a process died MAX_DEATHS times with a shard, the shard is computed alone, without the images that end
        its process. Raises StreamError with the message of an error that the work raises on purpose, and if too many
        images end their process.
        """
        if not shards:
            return 0.0
        started = time.perf_counter()
        left = {shard.number: shard for shard in shards}
        with Progress(label, sum(map(len, shards))) as progress, self.counter.show(progress):
            finished = 0
            for result in _stream_tasks(shards, work, pool):
                check_result(result)
                del left[result["number"]]
                finished += int(result["images"])
                progress.raise_to(finished)
            rescue = Rescue(work, pool, ACTOR_CPUS, name_row, may_skip)
            for shard in left.values():
                finished += int(rescue.finish_shard(shard)["images"])
                progress.raise_to(finished)
        return time.perf_counter() - started


def _stream_tasks(shards: Sequence[Item], work: Work, pool: ActorPool) -> Iterator[Task]:
    """What the last step of the work returns, in any order. Shards whose process died MAX_DEATHS times are left out."""
    tasks = [{"number": s.number, "start": s.start, "stop": s.stop, "key": s.key} for s in shards]
    with warnings.catch_warnings():  # Ray 2.60 has no other parameter for retries than the one it warns of
        warnings.simplefilter("ignore", RayDeprecationWarning)
        results = _plan_stream(tasks, work, pool)
    return iter(results.iter_rows())


def _plan_stream(tasks: list[Task], work: Work, pool: ActorPool) -> ray.data.Dataset:
    ray.data.DataContext.get_current().max_errored_blocks = -1
    made = (
        ray.data.from_items(tasks, override_num_blocks=len(tasks))
        .map(
            guard(work.read),
            num_cpus=READER_CPUS,
            compute=ray.data.TaskPoolStrategy(size=min(cluster.count_cores(), len(tasks))),
            max_retries=MAX_DEATHS - 1,
        )
        .map(
            GuardedActor,  # type: ignore[arg-type]
            fn_constructor_kwargs={"make": work.make_actor if pool.finishes_apart else work.make_process},
            compute=ray.data.ActorPoolStrategy(size=min(pool.count, len(tasks)), max_tasks_in_flight_per_actor=2),
            num_cpus=ACTOR_CPUS,
            num_gpus=pool.gpus or None,
            memory=pool.memory or None,
            max_task_retries=MAX_DEATHS - 1,
        )
    )
    if not pool.finishes_apart or work.finish is None:
        return made
    return made.map(guard(work.finish), num_cpus=FINISHER_CPUS, max_retries=MAX_DEATHS - 1)
