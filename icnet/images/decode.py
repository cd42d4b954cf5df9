"""Pictures in and out: image files as upright 8-bit arrays, arrays as network input, maps as PNG.

Arrays are uint8, [H, W, 3] RGB or [H, W] gray; sizes are (height, width) in px. What every kind of file becomes
stands in docs/data.md.
"""

import os
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from icnet.images.errors import ImageError, describe_content, translate_errors

FORMATS = ("JPEG", "MPO", "PNG", "BMP", "DIB", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")
"""What is read. Formats without a signature, and those that Pillow hands to another program, are left out."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_ORIENTATION, _PHOTOMETRIC, _BITS = 0x0112, 262, 258

# Pillow warns above its pixel limit and refuses above twice the limit: the refusal is the one that counts here.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def decode(data: bytes) -> np.ndarray:
    """The picture that a viewer shows, upright, uint8 RGB [H, W, 3]; transparency over white, the first frame.

    Raises BadImage.
    """
    with translate_errors():
        return np.array(_on_paper(_load(data), 255).convert("RGB"))


def decode_gray(data: bytes) -> np.ndarray:
    """A map, upright, uint8 [H, W]: the brightest channel, transparency over black. Raises BadImage."""
    with translate_errors():
        return _brightness(_load(data))


def decode_mask(data: bytes) -> np.ndarray:
    """A mask, upright, uint8 [H, W] with the object at 255, whichever way it was stored.

    Gray stays gray, but where every object pixel has the same value (1, a class number, a color) that value becomes
    255, and in a colored palette (PASCAL style) all that is not black is object. Raises BadImage.
    """
    with translate_errors():
        image = _load(data)
        mask = _brightness(image)
        values = np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[1:])
        if len(values) == 1 or (image.mode == "P" and _colored(image)):
            return np.where(mask > 0, np.uint8(255), np.uint8(0))
        return mask


def read_size(source: bytes | str | os.PathLike) -> tuple[int, int]:
    """(height, width) in px of an upright picture, from its header. Raises BadImage."""
    with translate_errors():
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        image = _open(data)
        width, height = image.size
        return (width, height) if _orientation(image, data) >= 5 else (height, width)


def _load(data: bytes) -> Image.Image:
    """The whole first frame, upright, 8 bits a channel, in any of Pillow's color modes."""
    image = _open(data)
    _check_end(image.format, data)
    image.load()
    turn = _TURNS.get(_orientation(image, data))
    return _eight_bits(image if turn is None else image.transpose(turn), image)


def _open(data: bytes) -> ImageFile.ImageFile:
    if not data:
        raise ImageError("is empty: zero bytes")
    Image.init()  # registers every format; the next call costs nothing
    known = [name for name in FORMATS if name in Image.OPEN]
    try:
        return Image.open(BytesIO(data), formats=known)
    except UnidentifiedImageError:
        raise ImageError(describe_content(data)) from None


def _check_end(format: str | None, data: bytes) -> None:
    """Refuse what Pillow would complete by guessing: downloads cut short whose rest is filled with zeros."""
    if format == "PNG":
        with Image.open(BytesIO(data), formats=["PNG"]) as image:
            image.verify()
    elif format in ("JPEG", "MPO"):
        whole = data.find(b"\xff\xd9", _scan(data)) >= 0
        if not whole:
            raise ImageError("is truncated: its end is missing")
    elif format in ("WEBP", "AVIF", "GIF") and not any(data[-64:]):
        raise ImageError("is truncated: it ends in zeros, as an interrupted copy does")


def _scan(data: bytes) -> int:
    """Where the first scan of a JPEG begins, behind headers that may hold a thumbnail with an end of its own."""
    place = 2
    while place + 4 <= len(data) and data[place : place + 2] != b"\xff\xda":
        if data[place] != 0xFF or data[place + 1] == 0xFF:
            place += 1
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return place


def _orientation(image: Image.Image, data: bytes) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or the EXIF block cannot be read, as viewers do."""
    if image.format == "TIFF":  # Pillow turns TIFFs itself
        return 1
    if image.format == "PNG" and not _png_may_turn(data):
        return 1  # Pillow would decode all of it to look behind the pixels
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:
        return 1
    return value if value in _TURNS else 1


def _png_may_turn(data: bytes) -> bool:
    place = 8
    while place + 8 <= len(data):
        kind, content = data[place + 4 : place + 8], place + 8
        if kind == b"eXIf" or data.startswith((b"Raw profile type", b"XML:com.adobe.xmp"), content):
            return True
        place = content + int.from_bytes(data[place : place + 4], "big") + 4
    return False


def _eight_bits(image: Image.Image, opened: Image.Image) -> Image.Image:
    """Scale 16-bit gray by its own white: Pillow's conversion would clip it."""
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    tags = getattr(opened, "tag_v2", {})
    if image.mode == "F" or (image.mode == "I" and opened.format != "PPM"):
        raise ImageError("holds floats or 32-bit numbers, which say nothing of white: save it with 8 or 16 bits")
    bits = tags.get(_BITS, 16)
    white = (1 << int(bits[0] if isinstance(bits, tuple) else bits)) - 1
    values = np.asarray(image).astype(np.uint32)
    values = (np.minimum(values, white) * 255 + white // 2) // white
    if tags.get(_PHOTOMETRIC) == 0:
        values = 255 - values
    return Image.fromarray(values.astype(np.uint8))


def _on_paper(image: Image.Image, paper: int) -> Image.Image:
    """`image` laid on a sheet of that brightness where it is transparent."""
    if not image.has_transparency_data:
        return image
    sheet = Image.new("RGBA", image.size, (paper, paper, paper, 255))
    return Image.alpha_composite(sheet, image.convert("RGBA")).convert("RGB")


def _brightness(image: Image.Image) -> np.ndarray:
    image = _on_paper(image, 0)
    if image.mode in ("1", "L"):
        return np.array(image.convert("L"))
    return np.array(image.convert("RGB")).max(axis=-1)


def _colored(image: Image.Image) -> bool:
    red, green, blue = np.moveaxis(np.asarray(image.convert("RGB")), -1, 0)
    return bool((red != green).any() or (green != blue).any())
