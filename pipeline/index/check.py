"""Check the files of a collection: size, header, digest."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from icnet import images
from pipeline import tables
from pipeline.index.config import IndexConfig
from pipeline.index.walk import Entry, make_reject

CHUNK_SIZE = 32
"""Images a thread takes at once."""


class FileError(ValueError):
    """A file that cannot be used, with its path below the root."""

    def __init__(self, path: str, reason: str, error: str = "CollectionError") -> None:
        super().__init__(reason)
        self.path, self.error = path, error


class FileCheck:
    """Reads the files of images and gives a row of the index, or a row of the rejects, for each."""

    def __init__(self, root: Path, config: IndexConfig) -> None:
        self.root, self.config = root, config

    def __call__(self, entries: list[Entry]) -> list[dict]:
        return [self._check(entry) for entry in entries]

    def _check(self, entry: Entry) -> dict:
        row = {"group": entry.group, "name": entry.name, "image": entry.image, "mask": entry.mask, "void": entry.void}
        try:
            (row["height"], row["width"]), row["bytes"], row["image_digest"] = self._read(entry.image)
            self._check_side(entry.image, row["height"], row["width"])
            for kind, path in (("mask", entry.mask), ("void", entry.void)):
                if path is not None:
                    size, _, row[f"{kind}_digest"] = self._read(path)
                    self._check_size("void mask" if kind == "void" else kind, path, size, row)
        except FileError as refused:
            alone = refused.path == entry.image
            reason = str(refused) if alone else f"{refused}; its image {entry.image!r} is left out with it"
            return make_reject(refused.path, entry.group, reason, refused.error)
        return {**row, "unmasked": entry.unmasked}

    def _read(self, path: str) -> tuple[tuple[int, int], int, str]:
        file = self.root / path
        try:
            if file.stat().st_size > self.config.max_megabytes << 20:
                raise FileError(path, f"is larger than index.max_megabytes allows: {file.stat().st_size >> 20} MB")
            data = file.read_bytes()
            return images.read_size(data), len(data), tables.digest_file(data)
        except OSError as error:
            raise FileError(path, f"cannot be read: {error.strerror}", type(error).__name__) from None
        except images.ImageError as error:
            raise FileError(path, str(error), type(error).__name__) from None

    def _check_side(self, path: str, height: int, width: int) -> None:
        if min(height, width) < self.config.min_side:
            raise FileError(path, f"is smaller than index.min_side allows: {height} x {width} px")

    def _check_size(self, kind: str, path: str, size: tuple[int, int], row: dict) -> None:
        if size != (row["height"], row["width"]):
            sizes = f"{size[0]} x {size[1]} px, the image {row['height']} x {row['width']} px"
            raise FileError(path, f"is a {kind} of another size than its image: {sizes}")


def check_entries(entries: Iterator[Entry], check: FileCheck, threads: int) -> Iterator[list[dict]]:
    """Results in the order of the entries, chunk by chunk; only a few chunks are under way at any time."""
    with ThreadPoolExecutor(threads) as pool:
        running: deque[Future] = deque()
        while chunk := list(islice(entries, CHUNK_SIZE)):
            running.append(pool.submit(check, chunk))
            if len(running) > 2 * threads:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
