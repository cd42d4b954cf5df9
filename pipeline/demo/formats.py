"""Image formats that the embedded collection is written in, common and rare ones."""

import io
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image


def encode_image(image: Image.Image, kind: str, **options: object) -> bytes:
    """The bytes of an image file; `kind` and `options` are Pillow's."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _encode_jpeg(pixels: np.ndarray) -> bytes:
    return encode_image(Image.fromarray(pixels), "JPEG", quality=92)


def _encode_rotated(pixels: np.ndarray) -> bytes:
    """Rotated by 90 degrees, with the EXIF orientation that rotates it back."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode_image(Image.fromarray(np.ascontiguousarray(np.rot90(pixels))), "JPEG", quality=92, exif=exif)


def _encode_16_bit(pixels: np.ndarray) -> bytes:
    """16 bits a channel."""
    return cv2.imencode(".png", pixels[..., ::-1].astype(np.uint16) * 257)[1].tobytes()


def _encode_animation(pixels: np.ndarray) -> bytes:
    frames = [Image.fromarray(frame).quantize(128) for frame in (pixels, 255 - pixels)]
    return encode_image(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=500)


COMMON_FORMATS = ("jpeg", "jpeg", "png", "jpeg", "webp")

RARE_FORMATS = ("gray", "turned", "deep", "cmyk", "palette", "animated")

FORMATS: dict[str, tuple[str, Callable[[np.ndarray], bytes]]] = {
    "jpeg": (".jpg", _encode_jpeg),
    "png": (".png", lambda pixels: encode_image(Image.fromarray(pixels), "PNG")),
    "webp": (".webp", lambda pixels: encode_image(Image.fromarray(pixels), "WEBP", quality=90)),
    "gray": (".png", lambda pixels: encode_image(Image.fromarray(pixels).convert("L"), "PNG")),
    "turned": (".jpg", _encode_rotated),
    "deep": (".png", _encode_16_bit),
    "cmyk": (".jpg", lambda pixels: encode_image(Image.fromarray(pixels).convert("CMYK"), "JPEG", quality=92)),
    "palette": (".png", lambda pixels: encode_image(Image.fromarray(pixels).quantize(200), "PNG")),
    "animated": (".gif", _encode_animation),
    "truncated": (".jpg", lambda pixels: _encode_jpeg(pixels)[:3000]),
}
"""Suffix of the file and encoder, uint8 RGB [h, w, 3] -> bytes, by format."""
