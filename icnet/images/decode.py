"""Decode image files as upright 8-bit arrays.

Arrays are uint8, RGB [H, W, 3] or gray [H, W]; sizes are (height, width) in px. docs/data.md lists what each kind of
file becomes. Damaged and unsupported content raises ImageError.
"""

import warnings
from contextlib import suppress
from functools import cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from icnet.images.arrays import Pixels
from icnet.images.errors import ImageError, describe_content, translate_errors

FORMATS = ("JPEG", "MPO", "PNG", "BMP", "DIB", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")
"""Formats that need no further package.

Left out: formats without a signature, and those for which Pillow starts another program.
"""

_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> the transposition that sets the image upright."""

_ORIENTATION_TAG, _PHOTOMETRIC_TAG, _BITS_TAG = 0x0112, 262, 258

_JPEG_END, _JPEG_SCAN = b"\xff\xd9", b"\xff\xda"

# Pillow warns above its pixel limit and raises above twice the limit. Only the error matters here.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def decode(data: bytes) -> Pixels:
    """Decode an image as a viewer shows it: RGB [H, W, 3], upright, transparency over white, the first frame."""
    with translate_errors():
        return np.array(_flatten(_load(data), background=255).convert("RGB"))


def decode_gray(data: bytes) -> Pixels:
    """Decode a map: gray [H, W], upright, the largest of R, G and B, transparency over black."""
    with translate_errors():
        return _to_gray(_load(data))


def decode_mask(data: bytes) -> Pixels:
    """Decode a mask: [H, W], upright, the object at 255.

    Gray values are kept, with two exceptions. If all object pixels have one value (1, a class number, a color), it
    becomes 255. In a colored palette (as in PASCAL VOC) everything that is not black becomes 255.
    """
    with translate_errors():
        image = _load(data)
        mask = _to_gray(image)
        values = np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[1:])
        if len(values) == 1 or (image.mode == "P" and _is_colored(image)):
            return np.where(mask > 0, np.uint8(255), np.uint8(0))
        return mask


def read_size(data: bytes) -> tuple[int, int]:
    """Return the (height, width) in px of the upright image, from the file's header."""
    with translate_errors():
        image = _open(data)
        width, height = image.size
        return (width, height) if _read_orientation(image, data) >= 5 else (height, width)


def _load(data: bytes) -> Image.Image:
    """Decode the first frame, upright, with 8 bits a channel, in any of Pillow's color modes."""
    image = _open(data)
    _check_end(image.format, data)
    image.load()
    transposition = _TRANSPOSITIONS.get(_read_orientation(image, data))
    return _reduce_depth(image if transposition is None else image.transpose(transposition), image)


def _open(data: bytes) -> ImageFile.ImageFile:
    if not data:
        raise ImageError("is empty: zero bytes")
    try:
        return Image.open(BytesIO(data), formats=_list_formats())
    except UnidentifiedImageError:
        raise ImageError(describe_content(data)) from None


@cache
def _list_formats() -> list[str]:
    """The formats that the installed Pillow can read; HEIF if the package pillow-heif is installed."""
    Image.init()
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    return [name for name in (*FORMATS, "HEIF") if name in Image.OPEN]


def _check_end(format: str | None, data: bytes) -> None:
    """Raise ImageError for truncated files that Pillow would decode anyway, for instance with zeros at the end."""
    if format == "PNG":
        with Image.open(BytesIO(data), formats=["PNG"]) as image:
            image.verify()
    elif format in ("JPEG", "MPO"):
        if data.find(_JPEG_END, _find_scan(data)) < 0:
            raise ImageError("is truncated: its end is missing")
    elif format in ("WEBP", "AVIF", "GIF") and not any(data[-64:]):
        raise ImageError("is truncated: it ends in zeros, as an interrupted copy does")


def _find_scan(data: bytes) -> int:
    """Return the offset of a JPEG's first scan. Segments before it may hold a thumbnail with another end marker."""
    offset = 2
    while offset + 4 <= len(data) and data[offset : offset + 2] != _JPEG_SCAN:
        if data[offset] != 0xFF or data[offset + 1] == 0xFF:
            offset += 1
        else:
            offset += 2 + int.from_bytes(data[offset + 2 : offset + 4], "big")
    return offset


def _read_orientation(image: Image.Image, data: bytes) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if there is none or the EXIF block is unreadable."""
    if image.format == "TIFF":  # Pillow applies it itself
        return 1
    if image.format == "PNG" and not _may_have_exif(data):
        return 1  # Pillow would decode all pixels to look for a block behind them
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        return 1
    return value if value in _TRANSPOSITIONS else 1


def _may_have_exif(png: bytes) -> bool:
    offset = 8
    while offset + 8 <= len(png):
        kind, content = png[offset + 4 : offset + 8], offset + 8
        if kind == b"eXIf" or png.startswith((b"Raw profile type", b"XML:com.adobe.xmp"), content):
            return True
        offset = content + int.from_bytes(png[offset : offset + 4], "big") + 4
    return False


def _reduce_depth(image: Image.Image, opened: Image.Image) -> Image.Image:
    """Scale 12- and 16-bit gray by its white level to 8 bits. Pillow's own conversion would clip it."""
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    tags = getattr(opened, "tag_v2", {})
    if image.mode == "F" or (image.mode == "I" and opened.format != "PPM"):
        raise ImageError("holds floats or 32-bit integers, whose white level is unknown: save it with 8 or 16 bits")
    bits = tags.get(_BITS_TAG, 16)
    white = (1 << int(bits[0] if isinstance(bits, tuple) else bits)) - 1
    values = np.asarray(image).astype(np.uint32)
    values = (np.minimum(values, white) * 255 + white // 2) // white
    if tags.get(_PHOTOMETRIC_TAG) == 0:  # zero is white
        values = 255 - values
    return Image.fromarray(values.astype(np.uint8))


def _flatten(image: Image.Image, background: int) -> Image.Image:
    """Composite a transparent image over a gray level, 0 to 255."""
    if not image.has_transparency_data:
        return image
    sheet = Image.new("RGBA", image.size, (background, background, background, 255))
    return Image.alpha_composite(sheet, image.convert("RGBA")).convert("RGB")


def _to_gray(image: Image.Image) -> Pixels:
    image = _flatten(image, background=0)
    if image.mode in ("1", "L"):
        return np.array(image.convert("L"))
    gray: Pixels = np.array(image.convert("RGB")).max(axis=-1)
    return gray


def _is_colored(image: Image.Image) -> bool:
    red, green, blue = np.moveaxis(np.asarray(image.convert("RGB")), -1, 0)
    return bool((red != green).any() or (green != blue).any())
