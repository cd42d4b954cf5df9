"""Files that are written whole or not at all."""

import json
import os
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa


def write_file(file: Path, content: bytes | pa.Buffer) -> None:
    """Write a local file that is either whole or not there, also where machines that share the disk write it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}.part")
    with temporary.open("wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(file)


def write_json(file: Path, content: Any) -> None:
    """Write JSON that is either whole or not there."""
    write_file(file, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
