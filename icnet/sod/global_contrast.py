"""Global Contrast: the region contrast map of Cheng et al. (CVPR 2011, TPAMI 2015), as their program computes it.

Shapes: an image is H x W px; r regions of the segmentation; k color bins of the histogram.
Stages: segment, quantize, contrast of regions, border prior, smoothing among colors, smoothing inside regions.
"""

from functools import partial

import cv2
import numpy as np
import torch
from pydantic import Field
from skimage.segmentation import felzenszwalb

from icnet.sod import preprocessing
from icnet.sod.base import Method, Spec, detect_one_by_one, make_identity
from icnet.sod.base import Options as Base

ALGORITHM = 1
SEGMENT_SIGMA, SEGMENT_K, SEGMENT_MIN = 0.5, 50, 200
LEVELS, COLORS_DROPPED, MAX_COLORS, MIN_COLORS = 12, 0.05, 256, 10
SIGMA_DISTANCE, CENTER_WEIGHT = 0.4, 9
BORDER_RATIO, BORDER_THRESHOLD = 0.02, 0.4
SMOOTHING = 0.1
ROWS = 1024
"""Regions whose contrast is computed at a time: bounds memory on huge images."""


class Options(Base):
    """longest: if not 0, larger images are seen with their longer side shrunk to it, in px (the authors' is 400)."""

    longest: int = Field(0, ge=0)


def make(spec: Spec, device: torch.device) -> Method:
    """The RC map, at full resolution unless an option says otherwise; on the CPU whatever the device."""
    spec.no_file()
    options = spec.options(Options)
    return Method(detect_one_by_one(partial(seen_at, options.longest)), lambda: make_identity("gc", ALGORITHM, options))


def seen_at(longest: int, image: np.ndarray) -> np.ndarray:
    """RC map float32 [H, W] of an image seen with its longer side at most so many px (0: as it is)."""
    seen = saliency(preprocessing.limit_side(image, longest))
    if seen.shape == image.shape[:2]:
        return seen
    return cv2.resize(seen, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def saliency(image: np.ndarray) -> np.ndarray:
    """RC map float32 [H, W] in [0, 1] of an RGB uint8 [H, W, 3] image."""
    colors, bgr, counts = quantize(image)
    if len(counts) < 2:
        return np.zeros(image.shape[:2], np.float32)
    if len(counts) == 2:
        return (colors == 1).astype(np.float32)
    return region_saliency(segment(lab(image)), colors, lab(bgr[:, None, ::-1])[:, 0], counts)


def region_saliency(regions: np.ndarray, colors: np.ndarray, bins: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The map from the segmentation [H, W], each pixel's color bin [H, W], the bins' Lab [k, 3] and sizes [k]."""
    distances = np.sqrt(((bins[:, None] - bins[None]) ** 2).sum(-1, dtype=np.float32))
    border = border_mask(regions)
    contrast = minmax(region_contrast(regions, colors, distances)).astype(np.float32)[regions]
    by_color = smooth_colors(mean_by(np.where(border, 0, contrast), colors, len(counts)), distances, counts)
    by_region = minmax(mean_by(by_color[colors], regions, regions.max() + 1))
    painted = np.where(border, 0, by_region[regions]).astype(np.float32)
    return cv2.GaussianBlur(painted, (3, 3), 0, borderType=cv2.BORDER_REFLECT_101).reshape(regions.shape)


def lab(image: np.ndarray) -> np.ndarray:
    """CIE Lab (D65, L in 0..100) float32 of RGB that is uint8, or float in 0..1. OpenCV 4's is off by up to 0.27."""
    if image.dtype == np.uint8:
        red, green, blue = np.moveaxis(_linear(np.arange(256) / 255).astype(np.float32)[image], -1, 0)
    else:
        red, green, blue = np.moveaxis(_linear(image), -1, 0)
    x = (0.412453 * red + 0.357580 * green + 0.180423 * blue) / 0.950456
    y = 0.212671 * red + 0.715160 * green + 0.072169 * blue
    z = (0.019334 * red + 0.119193 * green + 0.950227 * blue) / 1.088754
    fx, fy, fz = (np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116) for t in (x, y, z))
    lightness = np.where(y > 0.008856, 116 * fy - 16, 903.3 * y)
    return np.stack([lightness, 500 * (fx - fy), 200 * (fy - fz)], -1).astype(np.float32)


def _linear(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def segment(lab_image: np.ndarray) -> np.ndarray:
    """Labels [H, W] of Felzenszwalb's graph segmentation, 0.. in raster order of first appearance.

    scikit-image divides its scale by 255 and would smooth with a wider kernel than the authors' 5 x 5.
    """
    smooth = cv2.GaussianBlur(lab_image, (5, 5), SEGMENT_SIGMA, borderType=cv2.BORDER_REPLICATE)
    return felzenszwalb(smooth, scale=SEGMENT_K * 255, sigma=0, min_size=SEGMENT_MIN)


def quantize(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each pixel's color bin [H, W], the bins' mean BGR [k, 3] float32 in 0..1 and sizes [k], commonest first."""
    level = np.floor(np.arange(256, dtype=np.float32) / 255 * np.float32(LEVELS - 0.0001)).astype(np.int64)
    code = level[image] @ np.array([1, LEVELS, LEVELS**2])
    frequency = np.bincount(code.ravel(), minlength=LEVELS**3)
    ranked = np.lexsort((-np.arange(LEVELS**3), -frequency))[: np.count_nonzero(frequency)]
    kept, dropped = np.split(ranked, [_colors_kept(frequency[ranked])])
    triple = np.stack(np.unravel_index(np.arange(LEVELS**3), (LEVELS, LEVELS, LEVELS)), -1)
    bin_of = np.zeros(LEVELS**3, np.int64)
    bin_of[kept] = np.arange(len(kept))
    bin_of[dropped] = ((triple[dropped, None] - triple[kept]) ** 2).sum(-1).argmin(-1)
    colors = bin_of[code]
    bgr = [mean_by(image[..., channel] / 255, colors, len(kept)) for channel in (2, 1, 0)]
    return colors, np.stack(bgr, -1).astype(np.float32), np.bincount(colors.ravel(), minlength=len(kept))


def _colors_kept(ranked: np.ndarray) -> int:
    """How many of the codes with these counts, commonest first, are kept: what is dropped totals under 5 %."""
    drop = round(COLORS_DROPPED * ranked.sum())
    tail = np.cumsum(ranked[::-1])
    kept = max(1, len(ranked) - int(np.searchsorted(tail, drop)))
    kept = min(kept, MAX_COLORS)
    return min(MIN_COLORS, len(ranked)) if kept <= MIN_COLORS else kept


def region_contrast(regions: np.ndarray, colors: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Contrast [r] of each region with all others: color distance, weighed by size, nearness and centerdness."""
    height, width = regions.shape
    count, bins = regions.max() + 1, len(distances)
    size = np.bincount(regions.ravel())
    histogram = np.bincount((regions * bins + colors).ravel(), minlength=count * bins).reshape(count, bins)
    histogram = (histogram / size[:, None]).astype(np.float32)
    y, x = np.indices(regions.shape)
    centroid = np.stack([mean_by(x, regions, count) / width, mean_by(y, regions, count) / height], -1)
    off_center = (
        mean_by(abs(x - width / 2), regions, count) / width,
        mean_by(abs(y - height / 2), regions, count) / height,
    )
    contrast = np.empty(count)
    for rows in (slice(start, start + ROWS) for start in range(0, count, ROWS)):
        apart = ((centroid[rows, None] - centroid[None]) ** 2).sum(-1)
        color = (histogram[rows] @ distances).astype(np.float64) @ histogram.T.astype(np.float64)
        weights = size * np.exp(-apart / SIGMA_DISTANCE)
        weights[np.arange(len(weights)), np.arange(count)[rows]] = 0
        contrast[rows] = (color * weights).sum(-1)
    return contrast * np.exp(-CENTER_WEIGHT * (off_center[0] ** 2 + off_center[1] ** 2))


def border_mask(regions: np.ndarray) -> np.ndarray:
    """Pixels [H, W] of the image's border strips and of the regions that look like background from there.

    Strips are at least 1 px wide: on images under 25 px the authors' program divides by zero.
    """
    height, width = regions.shape
    tall, wide = max(1, round(BORDER_RATIO * height)), max(1, round(BORDER_RATIO * width))
    count = regions.max() + 1
    y, x = np.indices(regions.shape)
    at_sides, at_ends = (x < wide) | (x >= width - wide), (y < tall) | (y >= height - tall)
    spread_x = mean_by(abs(x - mean_by(x, regions, count)[regions]), regions, count) + 1e-200
    spread_y = mean_by(abs(y - mean_by(y, regions, count)[regions]), regions, count) + 1e-200
    sides = np.bincount(regions[at_sides], minlength=count) / (4 * tall * spread_y)
    ends = np.bincount(regions[at_ends], minlength=count) / (4 * wide * spread_x)
    return ((sides + ends) / BORDER_THRESHOLD > 1)[regions] | at_sides | at_ends


def smooth_colors(values: np.ndarray, distances: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Saliency [k] of the color bins, each averaged with those of its nearest bins; min-max normalized."""
    values = minmax(values)
    near = max(round(SMOOTHING * len(values)), 2)
    nearest = np.argsort(distances, axis=-1, kind="stable")[:, :near]
    apart = np.take_along_axis(distances, nearest, -1).astype(np.float64)
    total = apart.sum(-1, keepdims=True)
    weights = np.where(total > 0, (total - apart) / np.maximum(total, 1e-300), 1) * counts[nearest]
    return minmax((values[nearest] * weights).sum(-1) / counts[nearest].sum(-1))


def mean_by(values: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Mean [count] of the values with each label 0..count-1."""
    sizes = np.bincount(labels.ravel(), minlength=count)
    return np.bincount(labels.ravel(), weights=values.ravel(), minlength=count) / np.maximum(sizes, 1)


def minmax(values: np.ndarray) -> np.ndarray:
    """Values moved and scaled to [0, 1]; zeros if they are all alike."""
    spread = values.max() - values.min()
    return (values - values.min()) / spread if spread > 2.2e-16 else np.zeros_like(values)
