"""How SOD networks are fed and how their outputs are read: resizing, normalization and scaling as their authors do it.

Networks are sensitive to these: a swapped channel costs more than a missing layer.
"""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from icnet import images
from icnet.images import Pixels
from icnet.sod.base import SaliencyMap
from icnet.sod.network import resize

IMAGENET_MEAN = np.array(images.MEAN, np.float32)
IMAGENET_STD = np.array(images.STD, np.float32)

Array = NDArray[np.float32]

Normalize = Callable[[Array], Array]
"""RGB float32 [h, w, 3] in [0, 1] to the values that a network expects, of the same shape."""


def limit_side(image: Pixels, longest: int) -> Pixels:
    """Reduce an image [H, W, 3] to at most `longest` px on its longer side by averaging; 0 leaves it as it is."""
    height, width = image.shape[:2]
    factor = longest / max(height, width)
    if not 0 < factor < 1:
        return image
    size = max(1, round(factor * width)), max(1, round(factor * height))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def resize_darkening_edges(image: Array, size: int) -> Array:
    """Resize an image [H, W, 3] in [0, 1] to `size` x `size`, bilinear without antialiasing, zeros around it.

    As scikit-image 0.14's `resize(mode="constant")`: in an enlarged image the outermost pixels blend with black.
    """
    resized = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
    rows, columns = (_compute_inner_weight(side, size) for side in image.shape[:2])
    return np.asarray(resized * (rows[:, None] * columns)[..., None], np.float32)


def _compute_inner_weight(source: int, target: int) -> Array:
    """Return the share of each target pixel's bilinear weights that falls on source pixels, not beyond the edge."""
    center = (np.arange(target) + 0.5) * source / target - 0.5
    weights: Array = (1 - np.maximum(np.maximum(-center, center - (source - 1)), 0)).astype(np.float32)
    return weights


def normalize_by_maximum(image: Array) -> Array:
    """Divide by the image's largest value, then normalize by ImageNet's mean and deviation (U2Net, BASNet)."""
    return normalize_imagenet(image / (image.max() or np.float32(1)))


def normalize_imagenet(image: Array) -> Array:
    """Normalize by ImageNet's mean and deviation."""
    return (image - IMAGENET_MEAN) / IMAGENET_STD


def make_square_input(image: Pixels, size: int, normalize: Normalize) -> Array:
    """Return the network input [3, size, size] of an RGB image, resized without antialiasing."""
    resized = resize_darkening_edges(image.astype(np.float32) / np.float32(255), size)
    return np.ascontiguousarray(normalize(resized).transpose(2, 0, 1), dtype=np.float32)


def stretch_map(probability: Array, size: tuple[int, int]) -> SaliencyMap:
    """Scale a map [h, w] to [0, 1], truncate it to 8 bits, resize it to (height, width). Constant maps become zero."""
    low, high = probability.min(), probability.max()
    spread = high - low
    scaled = (probability - low) / spread if spread > 0 else np.zeros_like(probability)
    return images.resize((scaled * 255).astype(np.uint8), size).astype(np.float32) / np.float32(255)


def read_stretched(probability: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the map of a network's probability [1, h, w], as `stretch_map` does (U2Net, BASNet)."""
    return torch.from_numpy(stretch_map(probability[0].cpu().numpy(), size))


def read_logit(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the map of a network's logits [1, h, w]: resized to (height, width), then the sigmoid (EGNet, F3Net)."""
    return resize(logits[None], size).sigmoid()[0, 0]


def read_stretched_logit(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the map of a network's logits [1, h, w]: resized, sigmoid, scaled to [0, 1] (CPD)."""
    saliency = read_logit(logits, size)
    return (saliency - saliency.min()) / (saliency.max() - saliency.min() + 1e-8)
