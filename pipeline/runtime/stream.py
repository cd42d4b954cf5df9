"""Process shards with Ray Data: CPU tasks read them, actors compute and write them."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import ray.data
from tqdm import tqdm

from pipeline.runtime import cluster

READER_CPUS = 0.25
ACTOR_CPUS = 0.5
"""Shares of a CPU slot. With an actor on every core there are still slots for the readers."""


class StreamError(RuntimeError):
    """A stream that this cluster cannot run."""


class Item(Protocol):
    """A shard, or anything else that is rows `start` to `stop` of a table."""

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
    """How many actors compute, and how many GPUs each of them holds (a fraction shares a GPU, 0 is CPU)."""

    count: int
    gpus: float


def plan_actors(count: int | None, gpus: float | None, wants_gpu: bool) -> ActorPool:
    """The actors that the params ask for. None: one for each GPU if the method can use one, else one for each core.

    Raises StreamError if the cluster has too few GPUs.
    """
    available = cluster.count_gpus()
    share = gpus if gpus is not None else (1.0 if wants_gpu and available else 0.0)
    if share and share * (count or 1) > available:
        raise StreamError(f"{count or 1} actors with {share} GPU each are too many: the cluster has {available} GPUs")
    return ActorPool(count or (int(available / share) if share else cluster.count_cores()), share)


def process_shards(
    shards: Sequence[Item],
    read: Callable[[dict[str, Any]], dict[str, Any]],
    worker: type,
    arguments: dict[str, Any],
    pool: ActorPool,
    label: str,
) -> float:
    """Send every shard through `read` (a CPU task) and an actor of class `worker`, which writes it; returns seconds.

    `read` gets {number, start, stop, key} and adds a `payload`. The worker returns {number, images}.
    """
    if not shards:
        return 0.0
    began = time.perf_counter()
    items = [{"number": s.number, "start": s.start, "stop": s.stop, "key": s.key} for s in shards]
    results = (
        ray.data.from_items(items, override_num_blocks=len(items))
        .map(read, num_cpus=READER_CPUS, compute=ray.data.TaskPoolStrategy(size=min(cluster.count_cores(), len(items))))
        .map(
            worker,
            fn_constructor_kwargs=arguments,
            compute=ray.data.ActorPoolStrategy(size=min(pool.count, len(items)), max_tasks_in_flight_per_actor=2),
            num_cpus=ACTOR_CPUS,
            num_gpus=pool.gpus or None,
        )
    )
    _show_progress(results.iter_rows(), sum(map(len, shards)), label)
    return time.perf_counter() - began


def _show_progress(results: Iterable[dict[str, Any]], images: int, label: str) -> None:
    with tqdm(total=images, unit="image", desc=label, smoothing=0.1, mininterval=1.0) as bar:
        for result in results:
            bar.update(int(result["images"]))
