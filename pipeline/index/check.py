"""Check the files of a collection: size, header and digest. No pixel is decoded."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from icnet import images
from pipeline import tables
from pipeline.index.config import IndexConfig
from pipeline.index.rejects import make_reject
from pipeline.index.walk import Entry
from pipeline.runtime import parallel

CHUNK_SIZE = 32
"""Images that a thread checks at a time."""

NO_MASK = "has no mask: its map is predicted, not scored"


class FileError(ValueError):
    """The content of a file cannot be used. `path`: below the root; `error`: class of the error for the rejects."""

    def __init__(self, path: str, reason: str, error: str = "CollectionError") -> None:
        super().__init__(reason)
        self.path, self.error = path, error


class FileCheck:
    """Reads the files of images. Returns rows of INDEX and rows of REJECTS."""

    def __init__(self, root: Path, config: IndexConfig) -> None:
        self.root, self.config = root, config

    def __call__(self, entries: list[Entry]) -> list[dict[str, Any]]:
        """Check images. Raises OriginalError if a file cannot be read."""
        return [row for entry in entries for row in self._check(entry)]

    def _check(self, entry: Entry) -> list[dict[str, Any]]:
        try:
            row = self._make_row(entry)
        except FileError as refused:
            return _reject_files(entry, refused)
        return [row, make_reject(entry.image, entry.group, NO_MASK)] if entry.unmasked else [row]

    def _make_row(self, entry: Entry) -> dict[str, Any]:
        data, (height, width) = self._read(entry.image)
        if min(height, width) < self.config.min_side:
            raise FileError(entry.image, f"is smaller than index.min_side allows: {height} x {width} px")
        row = {"group": entry.group, "name": entry.name, "height": height, "width": width, "bytes": len(data)}
        row |= {"image": entry.image, "image_digest": tables.digest_file(data)}
        for kind, path in (("mask", entry.mask), ("void", entry.void)):
            row |= {kind: path, f"{kind}_digest": path and self._check_mask(kind, path, (height, width))}
        return row

    def _check_mask(self, kind: str, path: str, size: tuple[int, int]) -> str:
        """Return the digest of a mask. Raises FileError if it has another size than its image."""
        data, found = self._read(path)
        if found != size:
            sizes = f"{found[0]} x {found[1]} px, the image {size[0]} x {size[1]} px"
            raise FileError(path, f"is a {kind} of another size than its image: {sizes}")
        return tables.digest_file(data)

    def _read(self, path: str) -> tuple[bytes, tuple[int, int]]:
        """Return a file's bytes and its image's (height, width)."""
        size = self._find_size(path)
        if size > self.config.max_megabytes << 20:
            raise FileError(path, f"is larger than index.max_megabytes allows: {size / 2**20:.1f} MiB")
        data = tables.read_file(self.root, path)
        try:
            return data, images.read_size(data)
        except images.ImageError as error:
            raise FileError(path, str(error), type(error).__name__) from None

    def _find_size(self, path: str) -> int:
        try:
            return (self.root / path).stat().st_size
        except OSError:
            return 0  # the reading that follows tries again, and says what is wrong


def _reject_files(entry: Entry, refused: FileError) -> list[dict[str, Any]]:
    """Return rejects for all files of an image one of which cannot be used."""
    rejects = [make_reject(refused.path, entry.group, str(refused), refused.error)]
    for path in (entry.image, entry.mask, entry.void):
        if path is not None and path != refused.path:
            rejects.append(make_reject(path, entry.group, f"is left out with {refused.path!r}", refused.error))
    return rejects


def check_entries(entries: Iterator[Entry], check: FileCheck, threads: int) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of the entries in their order, chunk by chunk. Only a few chunks are in memory at any time."""
    chunks = iter(lambda: list(islice(entries, CHUNK_SIZE)), [])
    return parallel.prefetch(check, chunks, threads)
