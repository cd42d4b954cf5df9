"""All scores of one dataset: by method, size and image."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.metrics.aggregate import Scores
from pipeline.metrics.score import Key, Score

ICNET, SISM = "icnet", "sism"
"""Methods that are always scored: the network's co-saliency maps, and the SISMs it started from."""

RESIZED, ORIGINAL = "resized", "original"
"""Sizes to score at: the size of the samples, as in the paper, and the size of the original masks."""

HEADLINE = ("max_f", "s", "mae")
"""The metrics that the paper prints."""

Row = tuple[str, str]
"""A method and a size."""


@dataclass
class Results:
    """The scores of one dataset."""

    dataset: str
    edition: str
    """Changes when a scored image, mask or void mask changes."""
    size: int
    """Side of the samples in px."""
    images: dict[Row, dict[Key, Score]] = field(default_factory=dict)
    absent: list[dict[str, str]] = field(default_factory=list)
    """What could not be scored, one dict each: method, group, name, reason."""

    def scores(self) -> dict[Row, Scores]:
        """The sums of every method and size."""
        return {row: Scores.of(scored.items()) for row, scored in self.images.items()}

    def add_absent(self, method: str, keys: Iterable[Key], reason: str) -> None:
        """Record images that could not be scored for a method, or for `all`."""
        self.absent += [{"method": method, "group": group, "name": name, "reason": reason} for group, name in keys]
