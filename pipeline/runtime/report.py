"""The summary that a stage prints at its end."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

SHOWN_REJECTS = 3
"""Rejects that a summary prints one by one."""


def format_count(number: int, noun: str) -> str:
    """A number and its noun: "1 file", "2 files"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def print_summary(
    stage: str,
    *lines: str,
    rejects: Sequence[dict[str, Any]] = (),
    rejects_file: Path | None = None,
    lost_groups: Sequence[str] = (),
) -> None:
    """Print the lines, the first `rejects` (rows of REJECTS, all in `rejects_file`), and the groups without images."""
    for line in lines:
        print(f"{stage}: {line}")
    if rejects:
        print(f"{stage}: {format_count(len(rejects), 'file')} rejected, listed in {rejects_file}")
        for row in rejects[:SHOWN_REJECTS]:
            print(f"{stage}:   {row['path']!r}: {row['reason']}")
    for group in lost_groups:
        print(f"{stage}: group {group!r} lost all its images", flush=True)
