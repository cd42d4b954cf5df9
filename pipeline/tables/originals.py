"""Read the files of a collection again, after stage index has listed them."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pipeline.tables.manifest import TableError

RETRY_DELAYS = (0.2, 1.0, 3.0)
"""Seconds before each further attempt to read a file."""


Result = TypeVar("Result")


class OriginalError(TableError):
    """A file of a collection that cannot be read now, or that changed after it was indexed."""


def digest_file(content: bytes) -> str:
    """Return the BLAKE2 digest of a file's bytes, as the index holds it."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def read_with_retries(read: Callable[[], Result]) -> Result:
    """Call a function that reads files, again after each of RETRY_DELAYS while it raises OSError."""
    for delay in RETRY_DELAYS:
        try:
            return read()
        except OSError:
            time.sleep(delay)
    return read()


def read_file(root: Path, path: str) -> bytes:
    """Read the file at `path` below `root`, with some attempts.

    Raises OriginalError if it still cannot be read.
    """
    try:
        return read_with_retries((root / path).read_bytes)
    except OSError as error:
        raise OriginalError(_describe_failure(root, path, error)) from error


def read_original(root: Path, path: str, digest: str) -> bytes:
    """Read a file that the index lists.

    Raises OriginalError if it cannot be read, or if its bytes are not those with the index's digest.
    """
    content = read_file(root, path)
    if digest_file(content) != digest:
        raise OriginalError(f"{root / path} changed after it was indexed: run stage index again (`dvc repro`)")
    return content


def _describe_failure(root: Path, path: str, error: OSError) -> str:
    if not root.is_dir():
        return f"there is no folder {root}, the root of the collection: mount it, or run stage index again"
    return f"{root / path} cannot be read: {error.strerror}: make it readable, or remove it and run stage index again"
