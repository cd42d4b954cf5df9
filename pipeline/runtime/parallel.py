"""Threads that load items ahead or work on many items at once, in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")

Result = TypeVar("Result")


def prefetch(load: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """`load` of every item, in order, made ahead by threads; at most two items a thread wait in memory."""
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(load, item))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


MAX_THREADS = 32
"""Files that are asked for at once: a round trip to an object store takes tens of milliseconds."""


def map_in_threads(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`work` of every item, in order, MAX_THREADS at a time."""
    items = iter(items)
    with ThreadPoolExecutor(MAX_THREADS) as pool:
        while some := list(islice(items, MAX_THREADS)):
            yield from pool.map(work, some)
