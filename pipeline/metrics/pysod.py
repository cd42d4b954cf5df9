"""Score one map against its mask with PySODMetrics. Stages train and evaluate and `cosal score` share this code.

A mask pixel above 128 is object. Void pixels become background in map and mask, because the S-measure and the E-measure
need whole rectangles.
"""

import numpy as np
import py_sod_metrics as sod

from icnet import images as pictures
from pipeline.metrics.score import CURVES, FIELD, PAPER, Score

BETA_SQUARED = 0.3
"""Weight of precision in F-beta."""

ALPHA = 0.5
"""Weight of the object part in the S-measure."""


def score_map(found: np.ndarray, mask: np.ndarray, void: np.ndarray | None = None, convention: str = PAPER) -> Score:
    """Score a map against its mask, both uint8 [H, W]. Where `void` is above 128, the pixel has no label.

    `convention`: one of CONVENTIONS. Pixels without a label do not change how a map is stretched.
    """
    label = np.ones(mask.shape, bool) if void is None else void <= 128
    prediction, truth = found / 255, (mask > 128) & label
    if convention == FIELD:
        prediction = _stretch(prediction, label)
    prediction = np.where(label, prediction, 0.0)
    handlers = {"f": sod.FmeasureHandler(True, True, beta=BETA_SQUARED), "iou": sod.IOUHandler(True, False)}
    handlers |= {"precision": sod.PrecisionHandler(True, False), "recall": sod.RecallHandler(True, False)}
    f, e = sod.FmeasureV2(handlers), sod.Emeasure()
    s, weighted, mae = sod.Smeasure(alpha=ALPHA), sod.WeightedFmeasure(), sod.MAE()
    for measure in (f, e, s, weighted, mae):
        measure.step(prediction, truth, normalize=False)
    curves = {name: handler.dynamic_results[0] for name, handler in handlers.items()} | {"e": e.changeable_ems[0]}
    numbers = handlers["f"].adaptive_results[0], s.sms[0], e.adaptive_ems[0], weighted.weighted_fms[0], mae.maes[0]
    return Score(np.array(numbers, np.float64), np.stack([np.flip(curves[name]) for name in CURVES]))


def _stretch(prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Stretch the labelled pixels of a map in [0, 1] to the full range. A map of one value stays as it is."""
    values = prediction[label]
    if not values.size or values.min() == values.max():
        return prediction
    stretched: np.ndarray = (prediction - values.min()) / (values.max() - values.min())
    return stretched


def score_map_at(
    found: np.ndarray,
    mask: np.ndarray,
    void: np.ndarray | None = None,
    size: tuple[int, int] | None = None,
    convention: str = PAPER,
) -> Score:
    """Score at `size` (height, width) in px, or at the mask's size. Arrays of another size are resized."""
    height, width = size or mask.shape[:2]
    void = None if void is None else pictures.resize(void, (height, width))
    pair = pictures.resize(found, (height, width)), pictures.resize(mask, (height, width))
    return score_map(*pair, void, convention)
