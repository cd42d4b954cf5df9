"""The mean loss of every step, in a file beside the checkpoints."""

import os
from pathlib import Path

import numpy as np


class LossFile:
    """A file of float64 numbers, one for each step since the training began. Checkpoints hold only their count."""

    def __init__(self, file: Path, count: int = 0) -> None:
        """Open the file with its first `count` losses; those of steps after the last checkpoint are dropped."""
        file.touch()
        self.file, self.count = file, min(count, file.stat().st_size // 8)
        os.truncate(file, 8 * self.count)

    def append(self, losses: list[float]) -> None:
        """Add the losses of the next steps."""
        with self.file.open("ab") as handle:
            handle.write(np.asarray(losses, "<f8").tobytes())
        self.count += len(losses)

    def sync(self) -> None:
        """Make sure that the disk has the losses before a checkpoint counts on them."""
        with self.file.open("rb") as handle:
            os.fsync(handle.fileno())

    def read(self) -> list[float]:
        """All losses."""
        return np.fromfile(self.file, "<f8").tolist()
