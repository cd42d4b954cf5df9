"""Edges of a map at the size of its photograph, by the guided filter (He, Sun and Tang, ECCV 2010) in color.

The map is the guided filter's input, the photograph its guide. As in the fast guided filter (He and Sun, 2015), the
linear coefficients are computed on a smaller image.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from icnet.images.arrays import Pixels, quantize, resize

RADIUS = 0.015
"""Radius of the window, as a share of the longer side."""

EPSILON = 1e-4
"""Variance of a color in [0, 1] below which a window counts as flat."""

MAX_SIDE = 640
"""px; the coefficients of larger photographs are computed at this longer side."""

Floats = NDArray[np.float32]


def refine(saliency: Pixels, image: Pixels) -> Pixels:
    """The map uint8 [H, W] of a photograph uint8 [H, W, 3], with edges that follow those of the photograph."""
    small_map, small_image = saliency, image
    if max(image.shape[:2]) > MAX_SIDE:
        factor = MAX_SIDE / max(image.shape[:2])
        height, width = (max(1, round(side * factor)) for side in image.shape[:2])
        small_map, small_image = resize(saliency, (height, width)), resize(image, (height, width))
    slopes, offsets = _fit(_scale(small_image), _scale(small_map), max(1, round(RADIUS * max(small_map.shape))))
    full = (image.shape[1], image.shape[0])
    slopes, offsets = (np.asarray(cv2.resize(one, full), np.float32) for one in (slopes, offsets))
    values = np.einsum("hwc,hwc->hw", slopes, _scale(image)) + offsets
    return quantize(values)


def _fit(guide: Floats, values: Floats, radius: int) -> tuple[Floats, Floats]:
    """Slopes [h, w, 3] and offsets [h, w]: in every window, values are a linear function of the guide's colors."""
    mean, mean_value = _blur(guide, radius), _blur(values, radius)
    covariance = _blur(guide * values[..., None], radius) - mean * mean_value[..., None]
    products = _blur((guide[..., :, None] * guide[..., None, :]).reshape(*values.shape, 9), radius)
    variance = products.reshape(*values.shape, 3, 3) - mean[..., :, None] * mean[..., None, :]
    variance += EPSILON * np.eye(3, dtype=np.float32)
    slopes = np.linalg.solve(variance, covariance[..., None])[..., 0].astype(np.float32)
    offsets = mean_value - np.einsum("hwc,hwc->hw", slopes, mean)
    return _blur(slopes, radius), _blur(offsets, radius)


def _blur(array: Floats, radius: int) -> Floats:
    side = 2 * radius + 1
    return np.asarray(cv2.blur(array, (side, side), borderType=cv2.BORDER_REFLECT), np.float32)


def _scale(array: Pixels) -> Floats:
    return array.astype(np.float32) / np.float32(255)
