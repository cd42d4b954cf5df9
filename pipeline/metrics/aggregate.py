"""Scores of many images: by group, overall, and with bootstrap intervals."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.metrics.score import CURVES, METRICS, NUMBERS, THRESHOLDS, Key, Score, summarize

COLUMNS = {"max_f": "max F", "adaptive_f": "adp F", "weighted_f": "wF", "s": "S", "max_e": "max E"}
COLUMNS |= {"iou": "IoU", "mae": "MAE"}
"""The metrics of a printed table and their headings."""

STEPS = 2.0**32
"""The scores of an image are added as multiples of 1 / STEPS. Sums of two million images are then exact, so they do not
depend on the order of the images, or on who adds them."""

RESAMPLES_AT_ONCE = 100


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
        """Add up the scores of images."""
        found = list(scored)
        totals = ScoreTotals(sorted({group for (group, _), _ in found}))
        for (group, _), one in found:
            totals.add_image(group, one)
        return totals.to_scores()

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
        rows = []
        for start in range(0, len(draws), RESAMPLES_AT_ONCE):
            part = draws[start : start + RESAMPLES_AT_ONCE].astype(float)
            total = part @ self.counts
            numbers = part @ self.numbers / total[:, None]
            curves = np.einsum("dg,gct->dct", part, self.curves, optimize=True) / total[:, None, None]
            rows += [summarize(*pair) for pair in zip(numbers, curves, strict=True)]
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


class ScoreTotals:
    """Adds up scores, image by image or part by part. `groups`: sorted names of the groups that may occur."""

    def __init__(self, groups: Sequence[str]) -> None:
        self.groups = tuple(groups)
        self._rows = {group: row for row, group in enumerate(self.groups)}
        self._counts = np.zeros(len(groups), np.int64)
        self._numbers = np.zeros((len(groups), len(NUMBERS)))
        self._curves = np.zeros((len(groups), len(CURVES), THRESHOLDS))

    def add_image(self, group: str, one: Score) -> None:
        """Add the scores of an image."""
        row = self._rows[group]
        self._counts[row] += 1
        self._numbers[row] += np.rint(one.numbers * STEPS) / STEPS
        self._curves[row] += np.rint(one.curves * STEPS) / STEPS

    def add(self, part: Scores) -> None:
        """Add the sums of other images."""
        rows = [self._rows[group] for group in part.groups]
        self._counts[rows] += part.counts
        self._numbers[rows] += part.numbers
        self._curves[rows] += part.curves

    def to_scores(self) -> Scores:
        """The sums of the groups that have an image."""
        if self._counts.all():
            return Scores(self.groups, self._counts, self._numbers, self._curves)
        held = self._counts.nonzero()[0]
        names = tuple(self.groups[row] for row in held)
        return Scores(names, self._counts[held], self._numbers[held], self._curves[held])


def draw_resamples(groups: int, resamples: int, seed: int) -> np.ndarray:
    """How often each resample contains each group, [resamples, groups]. Equal seeds give equal draws."""
    random, shares = np.random.default_rng(seed), np.full(groups, 1 / groups)
    draws = np.empty((resamples, groups), np.int32)
    for row in draws:
        row[:] = random.multinomial(groups, shares)
    return draws


def format_table(rows: Sequence[tuple[str, str, str, Scores]]) -> str:
    """A table of methods and their scores for a terminal. `rows`: method, size, convention, scores."""
    content = []
    for method, size, convention, scores in rows:
        value = scores.overall()
        cells = [f"{value[name]:.3f}" if value else "-" for name in COLUMNS]
        content.append([method, size, convention, *cells, str(scores.images)])
    names = ["method", "size", "convention", *COLUMNS.values(), "images"]
    frame = pd.DataFrame(content, columns=names).set_index("method")
    return frame.rename_axis(None).rename_axis("method", axis="columns").to_string()
