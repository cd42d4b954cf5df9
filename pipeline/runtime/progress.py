"""Progress of a stage: a bar in a terminal, a line now and then elsewhere."""

import sys
import threading
import time
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 30.0


class Progress:
    """Counts images while they are processed. Threads may share it."""

    def __init__(self, label: str, total: int, position: int = 0) -> None:
        """`position`: the line of the bar, of several at the same time."""
        self.label, self.total, self.count = label, total, 0.0
        self._lock = threading.Lock()
        self._started = self._last_line = time.monotonic()
        self._bar: tqdm[Any] | None = None
        if sys.stderr.isatty():
            self._bar = tqdm(total=total, unit="image", desc=label, position=position, smoothing=0.1)

    def update(self, count: float) -> None:
        """Add `count` images; a fraction is a step of several."""
        with self._lock:
            self.count = min(self.count + count, self.total)
            self._show()

    def raise_to(self, count: float) -> None:
        """Set the count, unless it is higher already."""
        with self._lock:
            self.count = min(max(self.count, count), self.total)
            self._show()

    def finish(self) -> None:
        """There are no more images than those that were counted."""
        with self._lock:
            self.total = round(self.count)
            if self._bar is not None:
                self._bar.total = self.total
                self._bar.refresh()

    def _show(self) -> None:
        if self._bar is not None:
            self._bar.update(round(self.count) - self._bar.n)
        elif time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            print(self._format_line(), file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def _format_line(self) -> str:
        rate = self.count / max(time.monotonic() - self._started, 1e-9)
        left = f", {(self.total - self.count) / rate:.0f} s left" if rate and self.total > self.count else ""
        return f"{self.label}: {self.count:.0f} of {self.total} images, {rate:.1f} images/s{left}"
