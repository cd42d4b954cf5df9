"""All scores of one dataset: by method, size and image."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from pipeline.metrics.aggregate import Scores
from pipeline.metrics.score import FIELD, METRICS, PAPER, Key

ICNET, SISM = "icnet", "sism"
"""Methods that are always scored: the network's co-saliency maps, and the SISMs it started from."""

RESIZED, ORIGINAL, IN_FIELD = "resized", "original", FIELD
"""Ways to score: at the size of the samples, as in the paper; at the size of the original masks; and at that size with
stretched maps, as tables of later papers have it."""

WAYS = {RESIZED: (RESIZED, PAPER), ORIGINAL: (ORIGINAL, PAPER), IN_FIELD: (ORIGINAL, FIELD)}
"""Size and convention of each way to score."""

HEADLINE = ("max_f", "s", "mae")
"""The metrics that the paper prints."""

Row = tuple[str, str]
"""A method and a way to score."""


Absent = dict[str, str]
"""What could not be scored: method, group, name, reason."""


class ImageMetrics:
    """METRICS of each image by one method, scored in one way. An image without scores has no row."""

    def __init__(self, images: int) -> None:
        self.values = np.full((images, len(METRICS)), np.nan)
        """[images, 10]."""
        self.scored = np.zeros(images, bool)


@dataclass
class Results:
    """The scores of one dataset."""

    dataset: str
    edition: str
    """Changes when a scored image, mask or void mask changes."""
    size: int
    """Side of the samples in px."""
    keys: pa.Table
    """Group and name of each image that was to be scored, in the order of the table of images."""
    sums: dict[Row, Scores] = field(default_factory=dict)
    """The sums of every method and way to score."""
    images: dict[Row, ImageMetrics] = field(default_factory=dict)
    """The metrics of the images in `keys`, of every method and way to score."""
    absent: list[Absent] = field(default_factory=list)


def list_absent(method: str, keys: Iterable[Key], reason: str) -> list[Absent]:
    """Images that could not be scored for a method, or for `all`."""
    return [{"method": method, "group": group, "name": name, "reason": reason} for group, name in keys]
