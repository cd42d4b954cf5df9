"""Files with the features of a frozen backbone, for the training images.

Legend: n images, d depths, c channels, h x w cells.
"""

from functools import cache
from pathlib import Path

import numpy as np
from torch import Tensor

from pipeline.runtime.files import replace_when_done
from pipeline.train.split import Groups

FILE_IMAGES = 128
"""Images of a file."""

DEPTHS = 3
"""Depths of a backbone."""


class StoredFeatures:
    """Features of the rows of a training, in files of FILE_IMAGES rows: float16, [n, h, w, d * c].

    A row has `views`: the whole image, and zoomed ones. A file holds the same view of its rows.
    """

    def __init__(self, folder: Path, groups: Groups, views: int = 1) -> None:
        """`groups`: the training groups."""
        self.folder, self.views = folder, views
        self.rows = sorted(row for rows in groups.values() for row in rows)
        self._places = {row: place for place, row in enumerate(self.rows)}
        self._open = cache(lambda number: np.load(self._find_file(number), mmap_mode="r"))

    def read(self, row: int, view: int = 0) -> np.ndarray:
        """Features of a view of a row, [h, w, d * c]."""
        number, place = divmod(self._places[row], FILE_IMAGES)
        return np.asarray(self._open(number * self.views + view)[place])

    def list_missing(self) -> list[tuple[int, int, list[int]]]:
        """Number, view and rows of every file that is not there."""
        starts = range(0, len(self.rows), FILE_IMAGES)
        parts = [(self.rows[start : start + FILE_IMAGES], view) for start in starts for view in range(self.views)]
        files = ((number, view, rows) for number, (rows, view) in enumerate(parts))
        return [(number, view, rows) for number, view, rows in files if not self._find_file(number).is_file()]

    def write(self, number: int, features: np.ndarray) -> None:
        """Write a file, which appears whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with replace_when_done(self._find_file(number)) as temporary, temporary.open("wb") as handle:
            np.save(handle, features)

    def _find_file(self, number: int) -> Path:
        return self.folder / f"{number:06d}.npy"


def arrange_features(features: Tensor) -> tuple[Tensor, ...]:
    """Features [n, h, w, d * c] as the network takes them: [n, c, h, w] for each depth."""
    return features.permute(0, 3, 1, 2).contiguous().chunk(DEPTHS, dim=1)
