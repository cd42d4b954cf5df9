"""What processes the shards of a table: a Ray cluster (`stream`) or threads of this process (`threads`)."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
R = TypeVar("R")

Task = dict[str, Any]
"""A shard to be processed: `number`, `start`, `stop` and `key`, and after reading its `payload`.

`skip`, if it is there, has the images that are not computed because they end the process: the reason by their place in
the shard. They become rejects. With `trial`, nothing is written."""


class Item(Protocol):
    """A shard: rows `start` to `stop` of a table."""

    @property
    def number(self) -> int: ...
    @property
    def start(self) -> int: ...
    @property
    def stop(self) -> int: ...
    @property
    def key(self) -> str: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True)
class ActorPool:
    """The number of actors, and for each its GPUs (a fraction shares a GPU, 0 uses the CPU) and bytes of memory.

    With `finishes_apart` actors leave the last step of the work to CPU tasks.
    """

    count: int
    gpus: float
    memory: int = 0
    finishes_apart: bool = False


class SharedValue(Protocol[T_co]):
    """A value that workers share."""

    def get(self) -> T_co: ...


@dataclass(frozen=True)
class LocalValue(Generic[T]):
    """A value in this process."""

    value: T

    def get(self) -> T:
        """The value."""
        return self.value


def map_in_order(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """`work(item)` of every item, one after the other."""
    return [work(item) for item in items]


def ignore_progress(count: float) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class WorkerContext:
    """What an executor gives to readers and actors.

    `map_batches` computes a function of many items, in order. `report_progress` gets the number of images that are
    done; a step of several gets its share.
    """

    map_batches: Callable[[Callable[[Any], Any], Iterable[Any]], list[Any]] = map_in_order
    report_progress: Callable[[float], None] = ignore_progress


@dataclass(frozen=True)
class Work:
    """What is done with every shard: `read` it, call an `actor(**arguments)`, then `finish`.

    The last of them returns the `number` of the shard and its `images`. On a cluster, `read` is a CPU task. Where
    actors have GPUs, `finish` is one too, so that no GPU waits for it; otherwise the actor's process calls it.
    """

    read: Callable[[Task], Task]
    actor: Callable[..., Callable[[Task], Task]]
    arguments: dict[str, Any]
    finish: Callable[[Task], Task] | None = None

    def make_actor(self) -> Callable[[Task], Task]:
        """The actor alone."""
        return self.actor(**self.arguments)

    def make_process(self) -> Callable[[Task], Task]:
        """An actor that also finishes."""
        actor, finish = self.make_actor(), self.finish
        return actor if finish is None else lambda task: finish(actor(task))


class Executor(Protocol):
    """Processes shards."""

    @property
    def context(self) -> WorkerContext:
        """What readers and actors get."""
        ...

    def connect(self) -> AbstractContextManager[None]:
        """Make the executor ready, for the duration of a block."""
        ...

    def share(self, value: T) -> SharedValue[T]:
        """A handle of a value, for the arguments of readers and actors."""
        ...

    def plan_actors(self, count: int | None, gpus: float | None, wants_gpu: bool, memory: int = 0) -> ActorPool:
        """The actors that params ask for; None is the default for this machine or cluster.

        memory: bytes that an actor needs, 0 if unknown.
        """
        ...

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

        `name_row` names the image in a row of the table, for messages. With `may_skip`, all steps of the work obey
        `skip` and `trial` of a task.
        """
        ...
