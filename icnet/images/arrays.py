"""Image arrays: resize, encode as PNG, convert to network input and back."""

from io import BytesIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from icnet.images.errors import ImageError

Pixels = NDArray[np.uint8]
"""An image: uint8 RGB [H, W, 3], or a gray map or mask [H, W]."""

MEAN = (0.485, 0.456, 0.406)
"""ImageNet's mean of R, G and B in [0, 1]."""

STD = (0.229, 0.224, 0.225)
"""ImageNet's standard deviation of R, G and B in [0, 1]."""


def resize(array: Pixels, size: tuple[int, int]) -> Pixels:
    """Resize to (height, width) px, bilinear and antialiased. The aspect ratio is not kept."""
    height, width = size
    if array.shape[:2] == (height, width):
        return array
    return np.array(Image.fromarray(array).resize((width, height), Image.Resampling.BILINEAR))


def encode(array: Pixels) -> bytes:
    """Encode as PNG. Lossless; equal arrays give equal bytes."""
    buffer = BytesIO()
    Image.fromarray(array).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def encode_image(image: Image.Image) -> bytes:
    """Encode a PIL image as PNG, with its EXIF orientation; modes that PNG has not become RGB.

    Raises ImageError for floats and 32-bit integers, whose white level is unknown.
    """
    if image.mode in ("I", "F"):
        raise ImageError("holds floats or 32-bit integers, whose white level is unknown: give an array in [0, 1]")
    buffer = BytesIO()
    supported = image if image.mode in ("1", "L", "LA", "I;16", "P", "RGB", "RGBA") else image.convert("RGB")
    supported.save(buffer, "PNG", compress_level=0, exif=image.getexif())
    return buffer.getvalue()


def normalize(images: Pixels | Tensor) -> Tensor:
    """Convert uint8 RGB [n, h, w, 3] to float32 [n, 3, h, w], normalized by ImageNet's mean and deviation.

    A tensor is converted on its device.
    """
    values = _to_tensor(images).permute(0, 3, 1, 2).float().div_(255)
    mean, std = (torch.tensor(numbers, device=values.device).view(3, 1, 1) for numbers in (MEAN, STD))
    return values.sub_(mean).div_(std).contiguous()


def scale_maps(maps: Pixels | Tensor) -> Tensor:
    """Convert uint8 maps or masks [n, h, w] to float32 [n, 1, h, w] in [0, 1]; a tensor on its device."""
    return _to_tensor(maps).unsqueeze(1).float().div_(255)


def quantize(values: NDArray[np.floating] | Tensor) -> Pixels:
    """Convert a map [h, w] in [0, 1] to uint8, rounded. Values outside [0, 1] are clipped."""
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    levels: Pixels = np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)
    return levels


def _to_tensor(pixels: Pixels | Tensor) -> Tensor:
    return pixels if isinstance(pixels, Tensor) else torch.from_numpy(np.ascontiguousarray(pixels))
