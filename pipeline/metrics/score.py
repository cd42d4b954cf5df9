"""The field's metrics of maps against masks, by PySODMetrics; shared by train, evaluate and `cosal score`.

Maps are never min-max normalized, masks count as object above 128. Void pixels are background in map and mask alike,
as the S-measure and the E-measure need whole rectangles. Metrics with a threshold average their curves over images
first and take the maximum or the mean after, with one threshold for all images.
"""

from dataclasses import dataclass

import numpy as np
import py_sod_metrics as sod

from icnet import images as pictures

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
        return summarize(self.numbers, self.curves)


def score_map(found: np.ndarray, mask: np.ndarray, void: np.ndarray | None = None) -> Score:
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


def score_map_at(
    found: np.ndarray, mask: np.ndarray, void: np.ndarray | None = None, size: tuple[int, int] | None = None
) -> Score:
    """Score at `size` (height, width) in px, or at the mask's own size; what has another size is resized to it."""
    size = size or mask.shape
    void = None if void is None else pictures.resize(void, size)
    return score_map(pictures.resize(found, size), pictures.resize(mask, size), void)


def summarize(numbers: np.ndarray, curves: np.ndarray) -> dict[str, float]:
    """METRICS of averaged numbers [5] and curves [5, 256]."""
    value = dict(zip(NUMBERS, map(float, numbers), strict=True))
    f, e, iou = curves[:3]
    value |= {"max_f": float(f.max()), "mean_f": float(f.mean()), "iou": float(iou.max())}
    value |= {"max_e": float(e.max()), "mean_e": float(e.mean())}
    return {name: value[name] for name in METRICS}
