"""Work in progress: a folder for each unfinished training, and the memory maps that trainings share.

data/work/train/<fingerprint>/       first weights, checkpoints, losses, identity.json
data/work/train/samples/<digest>.arrow
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipeline.runtime import files
from pipeline.train.identity import Identity
from pipeline.train.job import TrainError

IDENTITY_FILE, LOCK_FILE = "identity.json", "lock"

MAPS_FOLDER = "samples"


class Workspace:
    """The folder of one training among those of others. `root` is data/work/train."""

    def __init__(self, root: Path, identity: Identity) -> None:
        self.root, self.identity = root.resolve(), identity
        self.folder = self.root / identity.fingerprint

    @property
    def memory_map(self) -> Path:
        """The memory map of the samples, shared with other trainings on them."""
        return self.root / MAPS_FOLDER / f"{self.identity.samples}.arrow"

    @contextmanager
    def open(self) -> Iterator[None]:
        """Make and lock the folder. Raises TrainError where another process runs the same training."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.folder / LOCK_FILE, timeout=0):
                files.write_json(self.folder / IDENTITY_FILE, asdict(self.identity))
                yield
        except Timeout:
            raise TrainError(
                f"the same training is already running: another process has locked {self.folder}"
            ) from None

    def has_other_code(self) -> bool:
        """Whether the same training was begun, and not finished, under other code."""
        others = (_read_identity(folder) for folder in self._list_others())
        return any(self.identity.differs_only_in_code(other) for other in others)

    def remove(self) -> None:
        """Remove the folder, and what no training can use again: trainings of other code that are not running, and
        memory maps without a training."""
        shutil.rmtree(self.folder)
        for folder in self._list_others():
            if _read_identity(folder).get("code") != self.identity.code and not _is_locked(folder):
                shutil.rmtree(folder, ignore_errors=True)
        others = self._list_others()
        used = {_read_identity(folder).get("samples") for folder in others}
        for file in (self.root / MAPS_FOLDER).glob("*"):
            half_written = file.suffix != self.memory_map.suffix
            if file.stem not in used and not (half_written and others):  # one of the others may be writing it
                file.unlink(missing_ok=True)

    def _list_others(self) -> list[Path]:
        folders = [folder for folder in self.root.glob("*") if folder.is_dir()]
        return [folder for folder in folders if folder not in (self.folder, self.root / MAPS_FOLDER)]


def _read_identity(folder: Path) -> dict[str, Any]:
    """The identity of a training's folder; empty where an older version made it."""
    file = folder / IDENTITY_FILE
    return json.loads(file.read_text()) if file.is_file() else {}


def _is_locked(folder: Path) -> bool:
    try:
        with FileLock(folder / LOCK_FILE, timeout=0):
            return False
    except Timeout:
        return True
