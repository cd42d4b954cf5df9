"""One writer for each output of a stage.

The lock is a `flock` (library filelock) on the file `.<name>.lock` beside the output. The system releases it when the
process ends, however it ends, so a lock is never stale. Between machines it holds where the shared disk supports such
locks: NFS 4, NFS 3 with lockd, EFS, FSx, Filestore, CephFS. On a Lustre mounted with `localflock` it holds for each
machine alone. It does not cover two checkouts that write to one `storage` URI. Those do not disturb each other: shards
are named there by their content.
"""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


class LockedError(RuntimeError):
    """Another process writes the same output; the message names it."""


@contextmanager
def lock_output(output: Path) -> Iterator[None]:
    """Hold the lock of an output while the block runs.

    Raises LockedError if another process, or another block of this one, holds it.
    """
    output = output.absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    file = output.with_name(f".{output.name.lstrip('.')}.lock")
    lock = FileLock(file, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise LockedError(
            f"{output} is being written by {_describe_holder(file)}: run again when it has ended"
        ) from None
    except OSError as error:
        raise LockedError(f"{file} cannot be locked: {error.strerror or error}") from error
    try:
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S %z")}
        file.write_text(json.dumps(holder))
        yield
    finally:
        lock.release()


def _describe_holder(file: Path) -> str:
    try:
        holder = json.loads(file.read_text())
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
