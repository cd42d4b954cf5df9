"""Image formats that the embedded collection is written in, common and rare ones."""

import io

import cv2
import numpy as np
from PIL import Image


def _save(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _jpeg(pixels: np.ndarray) -> bytes:
    return _save(Image.fromarray(pixels), "JPEG", quality=92)


def _turned(pixels: np.ndarray) -> bytes:
    """Stored on its side; EXIF says to turn it a quarter clockwise."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return _save(Image.fromarray(np.ascontiguousarray(np.rot90(pixels))), "JPEG", quality=92, exif=exif)


def _deep(pixels: np.ndarray) -> bytes:
    """16 bits a channel."""
    return cv2.imencode(".png", pixels[..., ::-1].astype(np.uint16) * 257)[1].tobytes()


def _animated(pixels: np.ndarray) -> bytes:
    frames = [Image.fromarray(frame).quantize(128) for frame in (pixels, 255 - pixels)]
    return _save(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=500)


COMMON_FORMATS = ("jpeg", "jpeg", "png", "jpeg", "webp")

RARE_FORMATS = ("gray", "turned", "deep", "cmyk", "palette", "animated")
