"""Decode the PNG files that `icnet.images.encode` made, by OpenCV."""

import cv2
import numpy as np

from icnet.images.arrays import Pixels
from icnet.images.errors import ImageError


def decode_encoded(data: bytes | memoryview) -> Pixels:
    """The array that `encode` was given.

    Faster than `decode`, which checks files of any origin, and other threads go on meanwhile. Raises ImageError where
    the bytes are no image.
    """
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if len(data) else None
    if pixels is None:
        raise ImageError("cannot be decoded")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if pixels.ndim == 3 else pixels, np.uint8)
