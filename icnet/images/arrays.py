"""Arrays: resized, encoded as PNG, and converted to network input."""

from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)

STD = (0.229, 0.224, 0.225)


def resize(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`array` (uint8, RGB or gray) at `size` (height, width): bilinear, antialiased, the aspect not kept."""
    height, width = size
    if array.shape[:2] == (height, width):
        return array
    return np.array(Image.fromarray(array).resize((width, height), Image.Resampling.BILINEAR))


def encode(array: np.ndarray) -> bytes:
    """Lossless PNG of uint8 RGB [H, W, 3] or gray [H, W]; the same bytes for the same array."""
    buffer = BytesIO()
    Image.fromarray(array).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def normalize(images: np.ndarray) -> Tensor:
    """uint8 RGB [n, h, w, 3] -> float32 [n, 3, h, w] with ImageNet's mean and standard deviation."""
    values = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float().div_(255)
    return values.sub_(torch.tensor(MEAN).view(3, 1, 1)).div_(torch.tensor(STD).view(3, 1, 1)).contiguous()


def scale_maps(maps: np.ndarray) -> Tensor:
    """uint8 maps or masks [n, h, w] -> float32 [n, 1, h, w] in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(maps)).unsqueeze(1).float().div_(255)


def quantize(values: np.ndarray | Tensor) -> np.ndarray:
    """A map in [0, 1], [h, w] -> uint8, rounded."""
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    return np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)
