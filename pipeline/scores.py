"""The field's metrics of maps against masks, by PySODMetrics; shared by train, evaluate and `cosal score`.

Maps are never min-max normalised, masks count as object above 128. Void pixels are background in map and mask alike,
as the S-measure and the E-measure need whole rectangles. Metrics with a threshold average their curves over images
first and take the maximum or the mean after, with one threshold for all images.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import py_sod_metrics as sod

from icnet import images

BETA_SQUARED = 0.3
ALPHA = 0.5
THRESHOLDS = 256
NUMBERS = ("adaptive_f", "s", "adaptive_e", "weighted_f", "mae")
"""What one image has one of."""
CURVES = ("f", "e", "iou", "precision", "recall")
"""What one image has 256 of: salient where the map, in 0..255, is at least 0, 1, ..., 255."""
METRICS = ("max_f", "mean_f", "adaptive_f", "s", "max_e", "mean_e", "adaptive_e", "weighted_f", "mae", "iou")
"""What is said of a set of images; `iou` is at its best threshold. They lie in [0, 1]
(the E-measure may pass 1 by a pixel's share); of `mae` less is better."""

Key = tuple[str, str]


@dataclass(frozen=True)
class Score:
    """One map against its mask: `numbers` [5] in the order of NUMBERS, `curves` [5, 256] in that of CURVES."""

    numbers: np.ndarray
    curves: np.ndarray

    def metrics(self) -> dict[str, float]:
        """The image's own metrics, the best threshold its own."""
        return summary(self.numbers, self.curves)


def score(found: np.ndarray, mask: np.ndarray, void: np.ndarray | None = None) -> Score:
    """Score a map against its mask, both uint8 [H, W]; `void` marks with more than 128 what has no label."""
    if void is not None:
        label = void <= 128
        found, mask = np.where(label, found, 0), np.where(label, mask, 0)
    prediction, truth = found / 255, mask > 128
    swept = {"f": sod.FmeasureHandler(True, True, beta=BETA_SQUARED), "iou": sod.IOUHandler(True, False)}
    swept |= {"precision": sod.PrecisionHandler(True, False), "recall": sod.RecallHandler(True, False)}
    f, e = sod.FmeasureV2(swept), sod.Emeasure()
    s, weighted, mae = sod.Smeasure(alpha=ALPHA), sod.WeightedFmeasure(), sod.MAE()
    for measure in (f, e, s, weighted, mae):
        measure.step(prediction, truth, normalize=False)
    curves = {name: handler.dynamic_results[0] for name, handler in swept.items()} | {"e": e.changeable_ems[0]}
    numbers = swept["f"].adaptive_results[0], s.sms[0], e.adaptive_ems[0], weighted.weighted_fms[0], mae.maes[0]
    return Score(np.array(numbers, np.float64), np.stack([np.flip(curves[name]) for name in CURVES]))


def score_at(
    found: np.ndarray, mask: np.ndarray, void: np.ndarray | None = None, size: tuple[int, int] | None = None
) -> Score:
    """Score at `size` (height, width) in px, or at the mask's own size; what has another size is resized to it."""
    size = size or mask.shape
    void = None if void is None else images.resize(void, size)
    return score(images.resize(found, size), images.resize(mask, size), void)


def summary(numbers: np.ndarray, curves: np.ndarray) -> dict[str, float]:
    """METRICS of averaged numbers [5] and curves [5, 256]."""
    value = dict(zip(NUMBERS, map(float, numbers), strict=True))
    f, e, iou = curves[:3]
    value |= {"max_f": float(f.max()), "mean_f": float(f.mean()), "iou": float(iou.max())}
    value |= {"max_e": float(e.max()), "mean_e": float(e.mean())}
    return {name: value[name] for name in METRICS}


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
        return summary(*self._mean(self.counts)) if self.images else {}

    def macro(self) -> dict[str, float]:
        """METRICS with each group at the same weight."""
        return summary(*self._mean(np.ones(len(self.groups)))) if self.images else {}

    def by_group(self) -> dict[str, dict[str, float]]:
        """METRICS of every group alone, the best threshold its own."""
        parts = zip(self.groups, self.counts, self.numbers, self.curves, strict=True)
        return {group: summary(numbers / count, curves / count) for group, count, numbers, curves in parts}

    def curve(self, name: str) -> np.ndarray:
        """One of CURVES over all images, [256]."""
        return self._mean(self.counts)[1][CURVES.index(name)]

    def resampled(self, draws: np.ndarray) -> dict[str, np.ndarray]:
        """Every metric over all images of each draw of groups, [draws]; `draws` [draws, groups] says how often."""
        total = draws @ self.counts
        numbers = draws @ self.numbers / total[:, None]
        curves = np.einsum("dg,gct->dct", draws, self.curves, optimize=True) / total[:, None, None]
        rows = [summary(*pair) for pair in zip(numbers, curves, strict=True)]
        return {name: np.array([row[name] for row in rows]) for name in METRICS}

    def intervals(self, confidence: float, resamples: int, seed: int) -> dict[str, tuple[float, float]]:
        """Percentile bootstrap over groups: where each metric lies with that confidence. Empty with nothing scored."""
        if not self.images:
            return {}
        tail = 50 * (1 - confidence)
        found = self.resampled(draws(len(self.groups), resamples, seed))
        return {name: tuple(map(float, np.percentile(values, [tail, 100 - tail]))) for name, values in found.items()}

    def _mean(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Numbers and curves with each group's mean at its weight."""
        shares = weights / self.counts / weights.sum()
        return shares @ self.numbers, np.einsum("g,gct->ct", shares, self.curves)


def draws(groups: int, resamples: int, seed: int) -> np.ndarray:
    """How often each resample draws each group, [resamples, groups]; the same for the same seed."""
    return np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), size=resamples).astype(float)


def table(rows: Sequence[tuple[str, str, Scores]]) -> str:
    """Methods beside their scores, for a person: rows of (method, size, scores)."""
    named = {"max_f": "max F", "s": "S", "max_e": "max E", "weighted_f": "wF", "iou": "IoU", "mae": "MAE"}
    wide = max([len(method) for method, *_ in rows] + [6])
    lines = [f"{'method':<{wide}}  {'size':<8}  " + "  ".join(f"{label:>6}" for label in named.values()) + "  images"]
    for method, size, scores in rows:
        value = scores.overall()
        cells = "  ".join(f"{value[name]:6.3f}" if value else f"{'-':>6}" for name in named)
        lines.append(f"{method:<{wide}}  {size:<8}  {cells}  {scores.images:>6}")
    return "\n".join(lines)
