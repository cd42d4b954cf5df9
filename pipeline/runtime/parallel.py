"""Load items in threads, in order, with a bounded number of results in memory.

`Executor.map` has no bound before Python 3.14 (`buffersize`), and joblib's generators have none.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")

Result = TypeVar("Result")

MAX_THREADS = 16
"""Files that are read at once. One request to an object store takes tens of milliseconds."""


def prefetch(load: Callable[[Item], Result], items: Iterable[Item], threads: int = MAX_THREADS) -> Iterator[Result]:
    """Yield `load(item)` for every item, in order. Threads load the next items meanwhile.

    At most two results for each thread wait in memory. An error of `load` is raised in its turn.
    """
    pool = ThreadPoolExecutor(threads)
    queue: deque[Future[Result]] = deque()
    try:
        for item in items:
            queue.append(pool.submit(load, item))
            if len(queue) > 2 * threads:
                yield queue.popleft().result()
        while queue:
            yield queue.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
