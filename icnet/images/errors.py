"""The errors of image files that cannot be decoded, one sentence each."""

from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

_FOREIGN_CONTENT = (
    (b"version https://git-lfs", "a Git LFS pointer: fetch the real file with `git lfs pull`"),
    (b"<!doctype html", "a web page, as a failed download leaves it"),
    (b"<html", "a web page, as a failed download leaves it"),
    (b"<svg", "an SVG drawing: export it as PNG"),
    (b"%pdf", "a PDF: export its pages as PNG"),
)
"""First bytes of files that are often found among images, lower case, and what each is."""

_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


class ImageError(ValueError):
    """The content of a file cannot be decoded as an image. The message continues a sentence: "is truncated ..."."""


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raise ImageError for whatever Pillow raises because of a file's content. MemoryError passes."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise ImageError(f"has more than {limit:,} pixels, as a decompression bomb has") from error
    except OSError as error:
        raise ImageError(_describe_os_error(error)) from error
    except Exception as error:  # damaged bytes make Pillow's readers raise errors of any kind
        raise ImageError(f"is damaged ({_describe_error(error)})") from error


def describe_content(data: bytes) -> str:
    """Describe in half a sentence what a file is that no reader recognizes as an image."""
    start = data[:64].lstrip().lower()
    for signature, name in _FOREIGN_CONTENT:
        if start.startswith(signature):
            return f"is not an image but {name}"
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis"):
        return "is AVIF, which this Pillow cannot read: install Pillow 11.3 or later, or export the file as JPEG"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return "is HEIC, which the package pillow-heif would read: install it and run again, or export the file as JPEG"
    if not any(data[:64]):
        return "is not an image: it begins with zeros, as an interrupted copy does"
    return "is not an image in a supported format, or its header is damaged"


def _describe_os_error(error: OSError) -> str:
    if "truncated" in str(error).lower():
        return "is truncated: its end is missing"
    return f"is truncated or damaged ({_describe_error(error)})"


def _describe_error(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
