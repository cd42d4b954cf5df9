"""Scores of many images: by group, overall, and with bootstrap intervals."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.metrics.score import CURVES, METRICS, NUMBERS, THRESHOLDS, Key, Score, summarize

COLUMNS = {"max_f": "max F", "s": "S", "max_e": "max E", "weighted_f": "wF", "iou": "IoU", "mae": "MAE"}
"""The metrics of a printed table and their headings."""


@dataclass(frozen=True)
class Scores:
    """The scores of one method on one set of images, as sums over each group. Groups are sorted by name."""

    groups: tuple[str, ...]
    counts: np.ndarray
    """Number of images, [groups]."""
    numbers: np.ndarray
    """Sums over the images of a group, [groups, 5]."""
    curves: np.ndarray
    """Sums over the images of a group, [groups, 5, 256]."""

    @classmethod
    def of(cls, scored: Iterable[tuple[Key, Score]]) -> "Scores":
        """Add up the scores of images. The order of the images does not change the sums."""
        ordered = sorted(scored, key=lambda item: item[0])
        names = sorted({group for (group, _), _ in ordered})
        rows = {group: row for row, group in enumerate(names)}
        counts = np.zeros(len(names), np.int64)
        numbers = np.zeros((len(names), len(NUMBERS)))
        curves = np.zeros((len(names), len(CURVES), THRESHOLDS))
        for (group, _), one in ordered:
            counts[rows[group]] += 1
            numbers[rows[group]] += one.numbers
            curves[rows[group]] += one.curves
        return cls(tuple(names), counts, numbers, curves)

    @property
    def images(self) -> int:
        """Number of scored images."""
        return int(self.counts.sum())

    def overall(self) -> dict[str, float]:
        """METRICS over all images with equal weights. Empty if nothing was scored."""
        return summarize(*self._mean(self.counts)) if self.images else {}

    def macro(self) -> dict[str, float]:
        """METRICS over all groups with equal weights. Empty if nothing was scored."""
        return summarize(*self._mean(np.ones(len(self.groups)))) if self.images else {}

    def by_group(self) -> dict[str, dict[str, float]]:
        """METRICS of each group, at the group's own best threshold."""
        parts = zip(self.groups, self.counts, self.numbers, self.curves, strict=True)
        return {group: summarize(numbers / count, curves / count) for group, count, numbers, curves in parts}

    def curve(self, name: str) -> np.ndarray:
        """One of CURVES over all images, [256]."""
        curve: np.ndarray = self._mean(self.counts)[1][CURVES.index(name)]
        return curve

    def is_finite(self) -> bool:
        """Whether no sum is NaN or infinite."""
        return bool(np.isfinite(self.numbers).all() and np.isfinite(self.curves).all())

    def resampled(self, draws: np.ndarray) -> dict[str, np.ndarray]:
        """Each metric over all images of each resample, [resamples]. `draws` [resamples, groups] counts the groups."""
        total = draws @ self.counts
        numbers = draws @ self.numbers / total[:, None]
        curves = np.einsum("dg,gct->dct", draws, self.curves, optimize=True) / total[:, None, None]
        rows = [summarize(*pair) for pair in zip(numbers, curves, strict=True)]
        return {name: np.array([row[name] for row in rows]) for name in METRICS}

    def intervals(self, confidence: float, resamples: int, seed: int) -> dict[str, tuple[float, float]]:
        """Low and high end of each metric by percentile bootstrap over groups. Empty if nothing was scored."""
        if not self.images:
            return {}
        tail = 50 * (1 - confidence)
        found = self.resampled(draw_resamples(len(self.groups), resamples, seed))
        ends = {name: np.percentile(values, [tail, 100 - tail]) for name, values in found.items()}
        return {name: (float(low), float(high)) for name, (low, high) in ends.items()}

    def _mean(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weighted mean of the groups' mean numbers [5] and mean curves [5, 256]."""
        shares = weights / self.counts / weights.sum()
        return shares @ self.numbers, np.einsum("g,gct->ct", shares, self.curves)


def draw_resamples(groups: int, resamples: int, seed: int) -> np.ndarray:
    """How often each resample contains each group, [resamples, groups]. Equal seeds give equal draws."""
    return np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), size=resamples).astype(float)


def format_table(rows: Sequence[tuple[str, str, Scores]]) -> str:
    """A table of methods and their scores for a terminal. `rows`: method, size, scores."""
    content = []
    for method, size, scores in rows:
        value = scores.overall()
        cells = [f"{value[name]:.3f}" if value else "-" for name in COLUMNS]
        content.append([method, size, *cells, str(scores.images)])
    names = ["method", "size", *COLUMNS.values(), "images"]
    frame = pd.DataFrame(content, columns=names).set_index("method")
    return frame.rename_axis(None).rename_axis("method", axis="columns").to_string()
