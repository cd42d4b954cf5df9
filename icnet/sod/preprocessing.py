"""How SOD networks are fed and how their maps are read: resizing, normalization and scaling as their authors do it.

Networks are sensitive to these (a swapped channel costs more than a missing layer), so each is written out.
"""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from icnet import images
from icnet.sod.network import resize

IMAGENET_MEAN = np.array(images.MEAN, np.float32)
IMAGENET_STD = np.array(images.STD, np.float32)


def limit_side(image: np.ndarray, longest: int) -> np.ndarray:
    """Image uint8 [H, W, 3] with its longer side at most so many px, averaged; 0 leaves it as it is."""
    height, width = image.shape[:2]
    share = longest / max(height, width)
    if not 0 < share < 1:
        return image
    size = max(1, round(share * width)), max(1, round(share * height))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def resize_darkening_edges(image: np.ndarray, size: int) -> np.ndarray:
    """Image float32 [H, W, 3] in 0..1 resized to a square, bilinear without anti-aliasing, zeros around it.

    As scikit-image 0.14's `resize(mode="constant")` did: when enlarging, the outermost pixels blend with black.
    """
    resized = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
    rows, columns = (_compute_share_inside(side, size) for side in image.shape[:2])
    return resized * (rows[:, None] * columns)[..., None]


def _compute_share_inside(source: int, target: int) -> np.ndarray:
    """Share of each target pixel's bilinear weights that falls on source pixels, not beyond the edge."""
    center = (np.arange(target) + 0.5) * source / target - 0.5
    return (1 - np.maximum(np.maximum(-center, center - (source - 1)), 0)).astype(np.float32)


def normalize_by_maximum(image: np.ndarray) -> np.ndarray:
    """Divide by the image's largest value, then ImageNet mean and deviation (U2Net, BASNet)."""
    return normalize_imagenet(image / (image.max() or 1))


def normalize_imagenet(image: np.ndarray) -> np.ndarray:
    """ImageNet mean and deviation of an RGB image in 0..1."""
    return (image - IMAGENET_MEAN) / IMAGENET_STD


NORMALISATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "u2net": normalize_by_maximum,
    "imagenet": normalize_imagenet,
    "unit": lambda image: image,
}


def make_square_input(image: np.ndarray, size: int, normalize: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Network input float32 [3, size, size] of an RGB uint8 image, resized without anti-aliasing."""
    resized = resize_darkening_edges(image.astype(np.float32) / 255, size)
    return np.ascontiguousarray(normalize(resized).transpose(2, 0, 1), dtype=np.float32)


def stretch_map(probability: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Map [h, w] min-max normalized, cut to 8 bit, resized to (height, width); zeros if constant (U2Net, BASNet)."""
    low, high = probability.min(), probability.max()
    spread = high - low
    scaled = (probability - low) / spread if spread > 0 else np.zeros_like(probability)
    return images.resize((scaled * 255).astype(np.uint8), size).astype(np.float32) / 255


def read_stretched(probability: Tensor, size: tuple[int, int]) -> Tensor:
    """Map of a network that gives a probability [1, h, w], as `stretched`."""
    return torch.from_numpy(stretch_map(probability[0].cpu().numpy(), size))


def read_logit(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Map of a network that gives logits [1, h, w]: resized to (height, width), then the sigmoid (EGNet, F3Net)."""
    return resize(logits[None], size).sigmoid()[0, 0]


def read_stretched_logit(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Map of logits [1, h, w]: resized to (height, width), sigmoid, min-max normalized (CPD)."""
    saliency = read_logit(logits, size)
    return (saliency - saliency.min()) / (saliency.max() - saliency.min() + 1e-8)
