"""The score of a map: its numbers and curves, and the metrics that they are summarized to.

A number follows one of CONVENTIONS. Metrics with a threshold average their curves over the images first and then take
the maximum or the mean: all images share one threshold. `pipeline.metrics.pysod` computes scores.
"""

from dataclasses import dataclass

import numpy as np

PAPER, FIELD = "paper", "field"

CONVENTIONS = (PAPER, FIELD)
"""`paper`: maps as they are, as the authors of ICNet scored them. `field`: each map is first stretched to the full
range 0..255, as PySODMetrics does by default, and the evaluation programs of DMT and CONDA."""

THRESHOLDS = 256
"""Length of a curve: a pixel is salient where the map, in 0..255, is at least 0, 1, ..., 255."""

NUMBERS = ("adaptive_f", "s", "adaptive_e", "weighted_f", "mae")
"""Metrics of an image that are one number."""

CURVES = ("f", "e", "iou", "precision", "recall")
"""Metrics of an image at every threshold."""

METRICS = ("max_f", "mean_f", "adaptive_f", "s", "max_e", "mean_e", "adaptive_e", "weighted_f", "mae", "iou")
"""Metrics of a set of images, in [0, 1] (the E-measure may exceed 1 by the share of one pixel). `iou` is at its best
threshold. Higher is better, except for `mae`."""

Key = tuple[str, str]
"""The group and the name of an image."""


@dataclass(frozen=True)
class Score:
    """The scores of one map: `numbers` [5] in the order of NUMBERS, `curves` [5, 256] in the order of CURVES."""

    numbers: np.ndarray
    curves: np.ndarray

    def metrics(self) -> dict[str, float]:
        """METRICS of this image alone, at its own best threshold."""
        return summarize(self.numbers, self.curves)


def summarize(numbers: np.ndarray, curves: np.ndarray) -> dict[str, float]:
    """METRICS of averaged numbers [5] and averaged curves [5, 256]."""
    value = dict(zip(NUMBERS, map(float, numbers), strict=True))
    f, e, iou = curves[:3]
    value |= {"max_f": float(f.max()), "mean_f": float(f.mean()), "iou": float(iou.max())}
    value |= {"max_e": float(e.max()), "mean_e": float(e.mean())}
    return {name: value[name] for name in METRICS}
