"""Rows of the rejects table of stage index."""

import os
from typing import Any

Reject = dict[str, Any]


def make_reject(path: str, group: str | None, reason: str, error: str = "CollectionError") -> Reject:
    """Return a row of REJECTS. Bytes of a name that are not UTF-8 are written as `\\xff`."""
    return {
        "path": decode_name(path),
        "group": None if group is None else decode_name(group),
        "stage": "index",
        "reason": reason,
        "error": error,
    }


def decode_name(name: str) -> str:
    """Return a file name that can be stored and printed: bytes that are not UTF-8 become `\\xff`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
