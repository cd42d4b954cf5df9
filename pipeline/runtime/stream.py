"""Shards processed by Ray Data: tasks read them, actors compute and write them."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import ray
import ray.data

from pipeline.runtime import cluster
from pipeline.runtime.executor import ActorPool, Item, Task, WorkerContext
from pipeline.runtime.progress import Progress

READER_CPUS = 0.25
ACTOR_CPUS = 0.5
"""Shares of a CPU slot: with an actor per core, slots are left for the readers that feed them."""

T = TypeVar("T")


class StreamError(RuntimeError):
    """More GPUs are asked for than the cluster has."""


@dataclass(frozen=True)
class RayValue(Generic[T]):
    """A value in Ray's object store."""

    reference: "ray.ObjectRef[T]"

    def get(self) -> T:
        """The value."""
        return cast(T, ray.get(self.reference))


class RayExecutor:
    """Processes shards on the Ray cluster that RAY_ADDRESS names, else on a local one."""

    def __init__(self) -> None:
        self.context = WorkerContext()

    def connect(self) -> AbstractContextManager[None]:
        """Join or start the cluster."""
        return cluster.connect()

    def share(self, value: T) -> RayValue[T]:
        """Put the value into Ray's object store."""
        return RayValue(ray.put(value))

    def plan_actors(self, count: int | None, gpus: float | None, wants_gpu: bool) -> ActorPool:
        """The actors that params ask for. None: one actor per GPU if the method can use one, else one per core.

        Raises StreamError if the cluster has too few GPUs.
        """
        available = cluster.count_gpus()
        share = gpus if gpus is not None else (1.0 if wants_gpu and available else 0.0)
        if share and share * (count or 1) > available:
            raise StreamError(
                f"{count or 1} actors with {share} GPU each are too many: the cluster has {available} GPUs"
            )
        return ActorPool(count or (int(available / share) if share else cluster.count_cores()), share)

    def process_shards(
        self,
        shards: Sequence[Item],
        read: Callable[[Task], Task],
        actor: Callable[..., Callable[[Task], Task]],
        arguments: dict[str, Any],
        pool: ActorPool,
        label: str,
    ) -> float:
        """Call `read` and then an `actor(**arguments)` with the task of every shard; returns seconds."""
        if not shards:
            return 0.0
        started = time.perf_counter()
        tasks = [{"number": s.number, "start": s.start, "stop": s.stop, "key": s.key} for s in shards]
        num_readers = min(cluster.count_cores(), len(tasks))
        num_actors = min(pool.count, len(tasks))
        results = (
            ray.data.from_items(tasks, override_num_blocks=len(tasks))
            .map(read, num_cpus=READER_CPUS, compute=ray.data.TaskPoolStrategy(size=num_readers))
            .map(
                actor,
                fn_constructor_kwargs=arguments,
                compute=ray.data.ActorPoolStrategy(size=num_actors, max_tasks_in_flight_per_actor=2),
                num_cpus=ACTOR_CPUS,
                num_gpus=pool.gpus or None,
            )
        )
        _show_progress(results.iter_rows(), sum(map(len, shards)), label)
        return time.perf_counter() - started


def _show_progress(results: Iterator[dict[str, Any]], images: int, label: str) -> None:
    with Progress(label, images) as progress:
        for result in results:
            progress.update(int(result["images"]))
