"""Files that are written whole or not at all."""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa


@contextmanager
def replace_when_done(file: Path) -> Iterator[Path]:
    """Give the path of a new, empty file beside `file`, which takes the place of `file` when the block ends.

    The name of the new file cannot be guessed, and it is opened exclusively. If `file` is a symbolic link, the link is
    replaced and its target stays as it is. After an error nothing is left behind.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{secrets.token_hex(16)}.part")
    temporary.open("xb").close()
    try:
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def write_file(file: Path, content: bytes | pa.Buffer) -> None:
    """Write a local file that is either whole or not there, also if several machines that share the disk write it."""
    with replace_when_done(file) as temporary, temporary.open("rb+") as handle:
        handle.write(content)


def write_json(file: Path, content: Any) -> None:
    """Write JSON that is either whole or not there."""
    write_file(file, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
