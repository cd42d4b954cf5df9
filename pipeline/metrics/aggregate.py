"""Scores of many images: by group, overall, with bootstrap intervals."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.metrics.score import CURVES, METRICS, NUMBERS, THRESHOLDS, Key, Score, summarize


@dataclass(frozen=True)
class Scores:
    """The scores of one method on one set of images, kept as sums over groups, in the order of the groups' names."""

    groups: tuple[str, ...]
    counts: np.ndarray
    """Images, [groups]."""
    numbers: np.ndarray
    """Sums over the group's images, [groups, 5]."""
    curves: np.ndarray
    """Sums over the group's images, [groups, 5, 256]."""

    @classmethod
    def of(cls, scored: Iterable[tuple[Key, Score]]) -> "Scores":
        """Add up scores of images in any order; the sums do not depend on it."""
        ordered = sorted(scored, key=lambda item: item[0])
        names = sorted({group for (group, _), _ in ordered})
        place = {group: number for number, group in enumerate(names)}
        counts = np.zeros(len(names), np.int64)
        numbers = np.zeros((len(names), len(NUMBERS)))
        curves = np.zeros((len(names), len(CURVES), THRESHOLDS))
        for (group, _), one in ordered:
            counts[place[group]] += 1
            numbers[place[group]] += one.numbers
            curves[place[group]] += one.curves
        return cls(tuple(names), counts, numbers, curves)

    @property
    def images(self) -> int:
        """How many images were scored."""
        return int(self.counts.sum())

    def overall(self) -> dict[str, float]:
        """METRICS over all images, each with the same weight. Empty where nothing was scored."""
        return summarize(*self._mean(self.counts)) if self.images else {}

    def macro(self) -> dict[str, float]:
        """METRICS with each group at the same weight."""
        return summarize(*self._mean(np.ones(len(self.groups)))) if self.images else {}

    def by_group(self) -> dict[str, dict[str, float]]:
        """METRICS of every group alone, the best threshold its own."""
        parts = zip(self.groups, self.counts, self.numbers, self.curves, strict=True)
        return {group: summarize(numbers / count, curves / count) for group, count, numbers, curves in parts}

    def curve(self, name: str) -> np.ndarray:
        """One of CURVES over all images, [256]."""
        return self._mean(self.counts)[1][CURVES.index(name)]

    def resampled(self, draws: np.ndarray) -> dict[str, np.ndarray]:
        """Every metric over all images of each draw of groups, [draws]; `draws` [draws, groups] says how often."""
        total = draws @ self.counts
        numbers = draws @ self.numbers / total[:, None]
        curves = np.einsum("dg,gct->dct", draws, self.curves, optimize=True) / total[:, None, None]
        rows = [summarize(*pair) for pair in zip(numbers, curves, strict=True)]
        return {name: np.array([row[name] for row in rows]) for name in METRICS}

    def intervals(self, confidence: float, resamples: int, seed: int) -> dict[str, tuple[float, float]]:
        """Percentile bootstrap over groups: where each metric lies with that confidence. Empty with nothing scored."""
        if not self.images:
            return {}
        tail = 50 * (1 - confidence)
        found = self.resampled(draw_resamples(len(self.groups), resamples, seed))
        return {name: tuple(map(float, np.percentile(values, [tail, 100 - tail]))) for name, values in found.items()}

    def _mean(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Numbers and curves with each group's mean at its weight."""
        shares = weights / self.counts / weights.sum()
        return shares @ self.numbers, np.einsum("g,gct->ct", shares, self.curves)


def draw_resamples(groups: int, resamples: int, seed: int) -> np.ndarray:
    """How often each resample draws each group, [resamples, groups]; the same for the same seed."""
    return np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), size=resamples).astype(float)


def format_table(rows: Sequence[tuple[str, str, Scores]]) -> str:
    """Methods beside their scores, for a person: rows of (method, size, scores)."""
    named = {"max_f": "max F", "s": "S", "max_e": "max E", "weighted_f": "wF", "iou": "IoU", "mae": "MAE"}
    wide = max([len(method) for method, *_ in rows] + [6])
    lines = [f"{'method':<{wide}}  {'size':<8}  " + "  ".join(f"{label:>6}" for label in named.values()) + "  images"]
    for method, size, scores in rows:
        value = scores.overall()
        cells = "  ".join(f"{value[name]:6.3f}" if value else f"{'-':>6}" for name in named)
        lines.append(f"{method:<{wide}}  {size:<8}  {cells}  {scores.images:>6}")
    return "\n".join(lines)
