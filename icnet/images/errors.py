"""One sentence for every file that does not become a picture."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

_NOT_PICTURES = (
    (b"version https://git-lfs", "a Git LFS pointer: fetch the real file with `git lfs pull`"),
    (b"<!doctype html", "a web page, as a failed download leaves it"),
    (b"<html", "a web page, as a failed download leaves it"),
    (b"<svg", "an SVG drawing: export it as PNG"),
    (b"%pdf", "a PDF: export its pages as PNG"),
)

_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


class ImageError(ValueError):
    """A file that does not become a picture; the message is one sentence for a person."""


@contextmanager
def translate_errors() -> Iterator[None]:
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise ImageError(f"has more than {limit:,} pixels, as a decompression bomb has") from error
    except OSError as error:
        raise ImageError(_describe_os_error(error)) from error
    except Exception as error:  # Pillow's readers answer damage with whatever the bytes provoke
        raise ImageError(f"is damaged ({_describe_error(error)})") from error


def _describe_os_error(error: OSError) -> str:
    if error.errno is not None:
        return f"cannot be read: {os.strerror(error.errno)}"
    if "truncated" in str(error) or "Truncated" in str(error):
        return "is truncated: its end is missing"
    return f"is truncated or damaged ({_describe_error(error)})"


def _describe_error(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def describe_content(data: bytes) -> str:
    start = data[:64].lstrip().lower()
    for signature, name in _NOT_PICTURES:
        if start.startswith(signature):
            return f"is not an image but {name}"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return "is HEIC, which is not read here: export it as JPEG or PNG"
    if not any(data[:64]):
        return "is not an image: it begins with zeros, as an interrupted copy does"
    return "is not an image in a format that is read here, or its header is damaged"
