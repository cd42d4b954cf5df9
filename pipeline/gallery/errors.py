"""Where a map differs from its mask, as a picture in colors that color-blind people can tell apart."""

from io import BytesIO

import numpy as np
from PIL import Image

from icnet.images import Pixels

BACKGROUND, OBJECT, MISSED, WRONG, UNLABELED = range(5)
"""Kinds of pixels: background and object that the map has right, object that it missed, background that it took for
object, and pixels without a label."""

Color = tuple[int, int, int]

COLORS: dict[int, Color] = {
    BACKGROUND: (0, 0, 0),
    OBJECT: (255, 255, 255),
    MISSED: (0, 114, 178),
    WRONG: (230, 159, 0),
    UNLABELED: (204, 204, 204),
}
"""Blue and orange of Okabe and Ito (Color Universal Design, 2008): they also differ in brightness."""

OPACITIES = {BACKGROUND: 115, OBJECT: 0, MISSED: 255, WRONG: 255, UNLABELED: 255}
"""0 to 255. Over the photograph, the object stays as it is, and the background becomes darker."""


def classify_pixels(found: Pixels, mask: Pixels, void: Pixels | None = None) -> Pixels:
    """The kind of each pixel of a map, uint8 [H, W]. `found`, `mask` and `void` are uint8 [H, W].

    The map is object from one half on (128). A mask is object above 128, and a pixel has no label where `void` is above
    128, as in the scores.
    """
    is_found, is_object = found >= 128, mask > 128
    kinds = np.where(is_object, np.where(is_found, OBJECT, MISSED), np.where(is_found, WRONG, BACKGROUND))
    if void is not None:
        kinds = np.where(void > 128, UNLABELED, kinds)
    return kinds.astype(np.uint8)


def encode_errors(kinds: Pixels) -> bytes:
    """Kinds of pixels uint8 [H, W] as PNG in COLORS, with OPACITIES. Equal arrays give equal bytes."""
    picture = Image.new("P", kinds.shape[::-1])
    picture.frombytes(kinds.tobytes())
    picture.putpalette([value for kind in sorted(COLORS) for value in COLORS[kind]])
    buffer = BytesIO()
    picture.save(buffer, "PNG", transparency=bytes(OPACITIES[kind] for kind in sorted(OPACITIES)), optimize=True)
    return buffer.getvalue()
