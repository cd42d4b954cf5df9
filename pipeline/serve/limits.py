"""What a request may hold. Sizes are read from the headers of the files, before anything is decoded."""

from collections.abc import Sequence

from icnet import images
from pipeline.serve.config import ServeConfig

TOO_LARGE, UNUSABLE = 413, 422


class RefusedError(ValueError):
    """A request that is refused, with its HTTP status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def check_request(names: Sequence[str], files: Sequence[bytes], config: ServeConfig) -> None:
    """Raises RefusedError if there is no photograph, a file is no image, or a limit is exceeded."""
    if not files:
        raise RefusedError(UNUSABLE, "the request has no photograph")
    if len(files) > config.max_images:
        reason = f"a request may hold {config.max_images} photographs, this one holds {len(files)}"
        raise RefusedError(TOO_LARGE, reason)
    total = 0
    for name, content in zip(names, files, strict=True):
        try:
            height, width = images.read_size(content)
        except images.ImageError as error:
            raise RefusedError(UNUSABLE, f"{name!r} {error}") from error
        total += height * width
        if height * width > config.max_megapixels * 1e6:
            reason = f"{name!r} is {width} x {height} px: a photograph may have {config.max_megapixels:g} megapixels"
            raise RefusedError(TOO_LARGE, reason)
    if total > config.max_total_megapixels * 1e6:
        reason = f"a request may hold {config.max_total_megapixels:g} megapixels, this one holds {total / 1e6:.0f}"
        raise RefusedError(TOO_LARGE, reason)


def check_length(length: str | None, config: ServeConfig) -> None:
    """Raises RefusedError if a request's Content-Length is missing (411) or above the limit."""
    if length is None or not length.isdecimal():
        raise RefusedError(411, "the request has no Content-Length")
    if int(length) > config.max_megabytes << 20:
        raise RefusedError(TOO_LARGE, f"a request may have {config.max_megabytes} MiB")
