"""Global Contrast: the region contrast map of Cheng et al. (CVPR 2011, TPAMI 2015), as their program computes it.

Steps: segment, quantize the colors, contrast of regions, border prior, smooth over colors, smooth inside regions.
Shapes: an image has H x W px; r regions of the segmentation; k color bins of the histogram.
"""

from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from skimage.segmentation import felzenszwalb

from icnet.images import Pixels
from icnet.sod import preprocessing
from icnet.sod.base import Method, SaliencyMap, Spec, detect_one_by_one, make_identity
from icnet.sod.base import Options as BaseOptions

OUTPUT_VERSION = 1
"""Raise it whenever a map may change."""

SEGMENT_SIGMA, SEGMENT_K, SEGMENT_MIN = 0.5, 50, 200
LEVELS, COLORS_DROPPED, MAX_COLORS, MIN_COLORS = 12, 0.05, 256, 10
SIGMA_DISTANCE, CENTER_WEIGHT = 0.4, 9
BORDER_RATIO, BORDER_THRESHOLD = 0.02, 0.4
SMOOTHING = 0.1

CHUNK_ROWS = 1024
"""Regions whose contrast is computed at a time, which bounds the memory for huge images."""

BYTES_PER_PIXEL = 450
"""Memory at the peak for each pixel of the image as the method sees it."""

Floats = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]
Flags = NDArray[np.bool_]


class Options(BaseOptions):
    """`longest`: larger images are reduced to this longer side, px; 0: never. The authors used 400."""

    longest: int = Field(400, ge=0)


def make(spec: Spec, device: torch.device) -> Method:
    """Make the method. It runs on the CPU whatever the device. Raises SodError for a file or a wrong option."""
    spec.refuse_file()
    options = spec.parse_options(Options)
    return Method(
        detect_one_by_one(partial(detect_resized, options.longest)),
        lambda: make_identity("gc", OUTPUT_VERSION, options),
    )


def estimate_memory(spec: Spec, pixels: int) -> int:
    """Estimate the bytes for an image of so many pixels."""
    longest = spec.parse_options(Options).longest
    return BYTES_PER_PIXEL * (min(pixels, longest**2) if longest else pixels) + 4 * pixels


def detect_resized(longest: int, image: Pixels) -> SaliencyMap:
    """Return the RC map [H, W] of an image, computed with its longer side at most `longest` px (0: full size)."""
    reduced = preprocessing.limit_side(image, longest)
    saliency = compute_saliency(reduced)
    height, width = image.shape[:2]
    if saliency.shape == (height, width):
        return saliency
    return np.asarray(cv2.resize(saliency, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def compute_saliency(image: Pixels) -> SaliencyMap:
    """Return the RC map [H, W] of an RGB image [H, W, 3] at its own size."""
    colors, bgr, counts = quantize(image)
    if len(counts) < 2:
        return np.zeros(image.shape[:2], np.float32)
    if len(counts) == 2:
        return np.asarray(colors == 1, np.float32)
    bins = convert_to_lab(bgr[:, None, ::-1])[:, 0]
    return compute_region_saliency(segment(convert_to_lab(image)), colors, bins, counts)


def compute_region_saliency(regions: Labels, colors: Labels, bins: Floats, counts: Labels) -> SaliencyMap:
    """Return the map [H, W].

    regions: the segmentation [H, W]. colors: each pixel's color bin [H, W]. bins: Lab of each bin [k, 3].
    counts: pixels in each bin [k].
    """
    distances = np.sqrt(((bins[:, None] - bins[None]) ** 2).sum(-1, dtype=np.float32))
    border, count = find_border(regions), int(regions.max()) + 1
    contrast = scale_to_unit(compute_region_contrast(regions, colors, distances)).astype(np.float32)[regions]
    color_means = compute_label_means(np.where(border, 0, contrast), colors, len(counts))
    by_color = smooth_colors(color_means, distances, counts)
    by_region = scale_to_unit(compute_label_means(by_color[colors], regions, count))
    painted = np.where(border, 0, by_region[regions]).astype(np.float32)
    return np.reshape(cv2.GaussianBlur(painted, (3, 3), 0, borderType=cv2.BORDER_REFLECT_101), regions.shape)


def convert_to_lab(image: NDArray[Any]) -> NDArray[np.float32]:
    """Convert RGB (uint8, or float in [0, 1]) to CIE Lab (D65, L in [0, 100]). OpenCV 4 errs by up to 0.27."""
    if image.dtype == np.uint8:
        red, green, blue = np.moveaxis(_linearize(np.arange(256) / 255).astype(np.float32)[image], -1, 0)
    else:
        red, green, blue = np.moveaxis(_linearize(image), -1, 0)
    x = (0.412453 * red + 0.357580 * green + 0.180423 * blue) / 0.950456
    y = 0.212671 * red + 0.715160 * green + 0.072169 * blue
    z = (0.019334 * red + 0.119193 * green + 0.950227 * blue) / 1.088754
    fx, fy, fz = (np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116) for t in (x, y, z))
    lightness = np.where(y > 0.008856, 116 * fy - 16, 903.3 * y)
    return np.stack([lightness, 500 * (fx - fy), 200 * (fy - fz)], -1).astype(np.float32)


def _linearize(values: Floats) -> Floats:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def segment(lab_image: NDArray[np.float32]) -> Labels:
    """Return the labels [H, W] of Felzenszwalb's graph segmentation, numbered from 0 in raster order.

    scikit-image divides its scale by 255, and would smooth with a wider kernel than the authors' 5 x 5.
    """
    smooth = cv2.GaussianBlur(lab_image, (5, 5), SEGMENT_SIGMA, borderType=cv2.BORDER_REPLICATE)
    labels: Labels = felzenszwalb(smooth, scale=SEGMENT_K * 255, sigma=0, min_size=SEGMENT_MIN)
    return labels


def quantize(image: Pixels) -> tuple[Labels, NDArray[np.float32], Labels]:
    """Return each pixel's color bin [H, W], each bin's mean BGR [k, 3] in [0, 1] and its pixels [k], largest first."""
    level = np.floor(np.arange(256, dtype=np.float32) / 255 * np.float32(LEVELS - 0.0001)).astype(np.int64)
    code = level[image] @ np.array([1, LEVELS, LEVELS**2])
    frequency = np.bincount(code.ravel(), minlength=LEVELS**3)
    ranked = np.lexsort((-np.arange(LEVELS**3), -frequency))[: np.count_nonzero(frequency)]
    kept, dropped = np.split(ranked, [_count_kept_colors(frequency[ranked])])
    triple = np.stack(np.unravel_index(np.arange(LEVELS**3), (LEVELS, LEVELS, LEVELS)), -1)
    bin_of = np.zeros(LEVELS**3, np.int64)
    bin_of[kept] = np.arange(len(kept))
    bin_of[dropped] = ((triple[dropped, None] - triple[kept]) ** 2).sum(-1).argmin(-1)
    colors = bin_of[code]
    bgr = [compute_label_means(image[..., channel] / 255, colors, len(kept)) for channel in (2, 1, 0)]
    return colors, np.stack(bgr, -1).astype(np.float32), np.bincount(colors.ravel(), minlength=len(kept))


def _count_kept_colors(ranked: Labels) -> int:
    """Return how many colors are kept, given their pixels, largest first. The others hold under 5 % of the pixels."""
    drop = round(COLORS_DROPPED * ranked.sum())
    tail = np.cumsum(ranked[::-1])
    kept = max(1, len(ranked) - int(np.searchsorted(tail, drop)))
    kept = min(kept, MAX_COLORS)
    return min(MIN_COLORS, len(ranked)) if kept <= MIN_COLORS else kept


def compute_region_contrast(regions: Labels, colors: Labels, distances: Floats) -> Floats:
    """Return the contrast [r] of each region with all others.

    Color distances, weighted by the other region's size and nearness, and by the distance from the image's center.
    distances: between the color bins [k, k].
    """
    height, width = regions.shape
    count, bins = int(regions.max()) + 1, len(distances)
    size = np.bincount(regions.ravel())
    histogram = np.bincount((regions * bins + colors).ravel(), minlength=count * bins).reshape(count, bins)
    histogram = (histogram / size[:, None]).astype(np.float32)
    y, x = np.indices(regions.shape)
    center_x, center_y = (compute_label_means(axis, regions, count) for axis in (x, y))
    centers = np.stack([center_x / width, center_y / height], -1)
    off_center_x = compute_label_means(abs(x - width / 2), regions, count) / width
    off_center_y = compute_label_means(abs(y - height / 2), regions, count) / height
    contrast = np.empty(count)
    for rows in (slice(start, start + CHUNK_ROWS) for start in range(0, count, CHUNK_ROWS)):
        apart = ((centers[rows, None] - centers[None]) ** 2).sum(-1)
        color = (histogram[rows] @ distances).astype(np.float64) @ histogram.T.astype(np.float64)
        weights = size * np.exp(-apart / SIGMA_DISTANCE)
        weights[np.arange(len(weights)), np.arange(count)[rows]] = 0
        contrast[rows] = (color * weights).sum(-1)
    contrast *= np.exp(-CENTER_WEIGHT * (off_center_x**2 + off_center_y**2))
    return contrast


def find_border(regions: Labels) -> Flags:
    """Return the pixels [H, W] of the border strips and of the regions that mostly lie along them.

    The strips are at least 1 px wide; for images under 25 px the authors' program divides by zero.
    """
    height, width = regions.shape
    tall, wide = max(1, round(BORDER_RATIO * height)), max(1, round(BORDER_RATIO * width))
    count = int(regions.max()) + 1
    y, x = np.indices(regions.shape)
    at_sides, at_ends = (x < wide) | (x >= width - wide), (y < tall) | (y >= height - tall)
    spread_x = _compute_spread(x, regions, count)
    spread_y = _compute_spread(y, regions, count)
    sides = np.bincount(regions[at_sides], minlength=count) / (4 * tall * spread_y)
    ends = np.bincount(regions[at_ends], minlength=count) / (4 * wide * spread_x)
    background = (sides + ends) / BORDER_THRESHOLD > 1
    return np.asarray(background[regions] | at_sides | at_ends)


def _compute_spread(positions: Labels, regions: Labels, count: int) -> Floats:
    """Return the mean absolute deviation of the positions in each region, never zero."""
    means = compute_label_means(positions, regions, count)
    return compute_label_means(abs(positions - means[regions]), regions, count) + 1e-200


def smooth_colors(values: Floats, distances: Floats, counts: Labels) -> Floats:
    """Average the saliency [k] of each color bin with that of its nearest bins, and scale it to [0, 1]."""
    values = scale_to_unit(values)
    near = max(round(SMOOTHING * len(values)), 2)
    nearest = np.argsort(distances, axis=-1, kind="stable")[:, :near]
    apart = np.take_along_axis(distances, nearest, -1).astype(np.float64)
    total = apart.sum(-1, keepdims=True)
    weights = np.where(total > 0, (total - apart) / np.maximum(total, 1e-300), 1) * counts[nearest]
    return scale_to_unit((values[nearest] * weights).sum(-1) / counts[nearest].sum(-1))


def compute_label_means(values: NDArray[Any], labels: Labels, count: int) -> Floats:
    """Return the mean [count] of the values with each label, 0 to count - 1."""
    sizes = np.bincount(labels.ravel(), minlength=count)
    sums = np.bincount(labels.ravel(), weights=values.ravel(), minlength=count)
    return np.asarray(sums / np.maximum(sizes, 1))


def scale_to_unit(values: Floats) -> Floats:
    """Scale values linearly to [0, 1]; zeros if they are all equal."""
    spread = values.max() - values.min()
    return np.divide(values - values.min(), spread) if spread > 2.2e-16 else np.zeros_like(values)
