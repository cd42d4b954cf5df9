"""Shards whose process dies: find the images that end it, by halving, and compute the others.

A process dies where memory runs out (the operating system or Ray kills it), or where a native library crashes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, WorkerCrashedError

from pipeline.runtime.executor import ActorPool, Item, Task, Work
from pipeline.runtime.guards import GuardedActor, StreamError, check_result, guard

MAX_DEATHS = 3
"""So often a process may die with a shard, and with a single image."""

MAX_IMAGES = 10
"""If more images end their process, something else is wrong, and the run ends."""

CAUSES = "out of memory, or a crash in a library"

DIED = (RayActorError, WorkerCrashedError, OutOfMemoryError, NodeDiedError)


@dataclass
class Rescue:
    """Computes shards one by one, each in a process that has the cluster for itself.

    work, pool, name_row, may_skip: as for `Executor.process_shards`. num_cpus: share of a CPU slot.
    """

    work: Work
    pool: ActorPool
    num_cpus: float
    name_row: Callable[[int], str]
    may_skip: bool
    found: list[str] = field(default_factory=list)
    """Names of the images that end their process."""
    process: Any = None

    def finish_shard(self, shard: Item) -> Task:
        """Compute a shard; images that end the process are skipped. Returns what the last step of the work returns.

        Raises StreamError if that does not help, or if images may not be skipped.
        """
        task = {"number": shard.number, "start": shard.start, "stop": shard.stop, "key": shard.key}
        result = self._try(task)
        if result is None:
            skip = self._find_images(task, range(len(shard)))
            result = self._try({**task, "skip": skip}) if skip else None
        self._stop()
        if result is None:
            names = f"{self.name_row(shard.start)} to {self.name_row(shard.stop - 1)}"
            raise StreamError(
                f"the process that computes the {len(shard)} images {names} dies ({CAUSES}), but with none of them"
                " alone: make shards smaller, or give the machines more memory"
            )
        return result

    def _find_images(self, task: Task, places: Sequence[int]) -> dict[int, str]:
        """The reason by place in the shard of the images that end the process. `places`: where to look."""
        others = {place: "" for place in range(task["stop"] - task["start"]) if place not in set(places)}
        trial = {**task, "skip": others, "trial": True}
        if any(self._try(trial) is not None for _ in range(MAX_DEATHS if len(places) == 1 else 1)):
            return {}
        if len(places) == 1:
            return {places[0]: self._add_image(task["start"] + places[0])}
        middle = len(places) // 2
        return self._find_images(task, places[:middle]) | self._find_images(task, places[middle:])

    def _add_image(self, row: int) -> str:
        """Count an image that ends its process; returns the reason."""
        name, reason = self.name_row(row), f"its process died {MAX_DEATHS} times: {CAUSES}"
        self.found.append(name)
        if not self.may_skip:
            raise StreamError(f"{name}: {reason}")
        if len(self.found) > MAX_IMAGES:
            raise StreamError(f"processes died with {len(self.found)} images, the last is {name}: {CAUSES}")
        return reason

    def _try(self, task: Task) -> Task | None:
        """The result of a task; None if the process died."""
        if self.process is None:
            options = {"num_cpus": self.num_cpus, "num_gpus": self.pool.gpus, "memory": self.pool.memory or None}
            self.process = ray.remote(_Process).options(**options, max_restarts=0).remote(self.work)
        try:
            result: Task = ray.get(self.process.run.remote(task))
        except DIED:
            self._stop()
            return None
        check_result(result)
        return result

    def _stop(self) -> None:
        if self.process is not None:
            ray.kill(self.process)
            self.process = None


class _Process:
    """All that is done with a shard, in one process."""

    def __init__(self, work: Work) -> None:
        self.read, self.actor = guard(work.read), GuardedActor(work.make_process)

    def run(self, task: Task) -> Task:
        return self.actor(self.read(task))
