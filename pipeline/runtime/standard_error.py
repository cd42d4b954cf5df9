"""Ray's core writes some lines to the standard error of this process that mean nothing to those who run a stage."""

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

UNIMPORTANT = re.compile(
    rb"core_worker\.cc:\d+: Actor with class name: .* has constructor arguments in the object store"
)
"""Ray Data gives every actor its function through the object store, and Ray warns of that."""


@contextmanager
def drop_unimportant_lines() -> Iterator[None]:
    """Drop these lines for the duration of a block; all else that is written to the file descriptor passes.

    Python writes directly to where the descriptor led before, so that bars and their terminal stay as they are.
    """
    if sys.stderr is not sys.__stderr__ or sys.stderr is None:  # somebody else collects it
        yield
        return
    original, python = os.dup(2), sys.stderr
    source, sink = os.pipe()
    os.dup2(sink, 2)
    os.close(sink)
    forwarding = threading.Thread(target=_forward, args=(source, os.dup(original)), daemon=True)
    forwarding.start()
    sys.stderr = os.fdopen(os.dup(original), "w", buffering=1, encoding=python.encoding, errors=python.errors)
    try:
        yield
    finally:
        sys.stderr.close()
        sys.stderr = python
        os.dup2(original, 2)  # closes the sink, so that the thread ends
        forwarding.join(timeout=1)  # a child may still hold the sink
        os.close(original)


def _forward(source: int, target: int) -> None:
    with os.fdopen(source, "rb") as lines, os.fdopen(target, "wb", buffering=0) as output:
        for line in lines:
            if not UNIMPORTANT.search(line):
                output.write(line)
