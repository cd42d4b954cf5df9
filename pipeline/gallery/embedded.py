"""Thumbnails inside of a page: it is then a single file that MLflow's viewer can show."""

from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from icnet import images
from icnet.images import Pixels
from pipeline.gallery.errors import classify_pixels, encode_errors
from pipeline.gallery.thumbnails import choose_size, encode_jpeg, encode_layer, resize

MAX_EMBEDDED_SIDE = 256
"""px of the longer side."""

VOID_GRAY = 110
"""Gray value of pixels without a label in a mask."""


@dataclass(frozen=True)
class EmbeddedThumbnails:
    """The thumbnails of an image as JPEG or PNG files. `mask` and `errors` are None if the image has no mask."""

    photo: bytes
    sism: bytes
    map: bytes
    mask: bytes | None = None
    errors: bytes | None = None

    @property
    def num_bytes(self) -> int:
        """Bytes in a page: the errors are in it twice."""
        files = (self.photo, self.sism, self.map, self.map, self.mask, self.errors, self.errors)
        return sum(4 * (len(one) + 2) // 3 for one in files if one)


def embed_thumbnails(sample: dict[str, Any], map_: bytes, void: Pixels | None = None) -> EmbeddedThumbnails:
    """The thumbnails of a row of SAMPLES and its map, a PNG of any size. `void`: pixels without a label, uint8 [H, W].

    Errors are those at the size of the samples.
    """
    photo, found = images.decode(sample["image"]), images.decode_gray(map_)
    side = photo.shape[0]
    size = choose_size(sample["height"], sample["width"], side, MAX_EMBEDDED_SIDE)
    scale = partial(resize, size=size)
    mask = errors = None
    if sample["mask"] is not None:
        truth = images.decode_gray(sample["mask"])
        void = None if void is None else images.resize(void, truth.shape[:2])
        kinds = classify_pixels(images.resize(found, truth.shape[:2]), truth, void)
        errors = encode_errors(_repeat_pixels(kinds, size))
        truth = truth if void is None else np.where(void > 128, np.uint8(VOID_GRAY), truth)
        mask = _encode_gray(_repeat_pixels(truth, size))
    sism = encode_jpeg(scale(images.decode_gray(sample["sism"])))
    return EmbeddedThumbnails(encode_jpeg(scale(photo)), sism, encode_layer(scale(found)), mask, errors)


def _repeat_pixels(array: Pixels, size: tuple[int, int]) -> Pixels:
    """Resize without new values."""
    height, width = size
    return np.asarray(Image.fromarray(array).resize((width, height), Image.Resampling.NEAREST))


def _encode_gray(array: Pixels) -> bytes:
    buffer = BytesIO()
    Image.fromarray(array).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
