"""Thumbnails of photographs, SISMs and maps, drawn from a samples and a maps table."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from icnet import images
from icnet.images import Pixels
from pipeline import pictures, tables
from pipeline.runtime import parallel

FOLDER = "index_files"
"""The folder of the thumbnails, beside the page."""

MAX_STRETCH = 1.5
"""Samples are squares: at most so many times their side is the longer side of a thumbnail."""

MAX_SIDE = 480
"""px of the longer side of a thumbnail."""

NUM_LEVELS = 64
"""Levels of transparency of a map: 256 would double the size of its file."""

ROWS_IN_MEMORY, NUM_THREADS = 64, 4


class GalleryError(ValueError):
    """Tables that do not belong together; the message names them."""


@dataclass(frozen=True)
class ThumbnailNames:
    """The thumbnails of an image, as paths below the folder of the page."""

    photo: str
    sism: str
    map: str
    mask: None = None
    errors: None = None

    def list_names(self) -> list[str]:
        """All of them."""
        return [self.photo, self.sism, self.map]


def name_thumbnails(group: str, name: str) -> ThumbnailNames:
    """The thumbnails of an image. Their names do not contain those of group and image, which may be long and odd."""
    base = f"{FOLDER}/{tables.fingerprint(group, name)}"
    return ThumbnailNames(f"{base}.jpg", f"{base}-sism.jpg", f"{base}-map.png")


def draw_thumbnails(samples: Path, maps: Path) -> Iterator[tuple[str, bytes]]:
    """The name and the bytes of every thumbnail of a maps table. Equal tables give equal bytes.

    Photographs and SISMs are JPEG; a map is a PNG of one color, with the map as opacity. A few rows are in memory.
    Raises GalleryError if the samples are not those of the maps, and TableError if a table is unfinished.
    """
    total, positions = tables.load_manifest(maps)["rows"], match_samples(samples, maps)
    for start in range(0, total, ROWS_IN_MEMORY):
        stop = min(total, start + ROWS_IN_MEMORY)
        found = tables.read_rows(maps, start, stop, ["group", "name", "map"]).to_pylist()
        columns = ["group", "name", "image", "sism", "height", "width"]
        first = positions[start]
        near = tables.read_rows(samples, int(first), int(positions[stop - 1]) + 1, columns)
        inputs = near.take(positions[start:stop] - first).to_pylist()
        for drawn in parallel.prefetch(_draw_row, list(zip(inputs, found, strict=True)), NUM_THREADS):
            yield from drawn


def match_samples(samples: Path, maps: Path) -> np.ndarray:
    """The row in `samples` of each row of `maps`. Raises GalleryError if a map has no sample."""
    positions = tables.find_positions(*(tables.read_table(table, ["group", "name"]) for table in (maps, samples)))
    if (positions < 0).any():
        raise GalleryError(f"{samples} does not hold the images of {maps}")
    return positions


def _draw_row(rows: tuple[dict[str, Any], dict[str, Any]]) -> list[tuple[str, bytes]]:
    sample, found = rows
    names = name_thumbnails(sample["group"], sample["name"])
    photo = images.decode(sample["image"])
    scale = partial(resize, size=choose_size(sample["height"], sample["width"], photo.shape[0]))
    return [
        (names.photo, encode_jpeg(scale(photo))),
        (names.sism, encode_jpeg(scale(images.decode_gray(sample["sism"])))),
        (names.map, encode_layer(scale(images.decode_gray(found["map"])))),
    ]


def choose_size(height: int, width: int, side: int, max_side: int = MAX_SIDE) -> tuple[int, int]:
    """Height and width of a thumbnail in px: the original's aspect ratio, never larger than the original.

    `side`: that of the sample.
    """
    longest = min(max_side, round(MAX_STRETCH * side), max(height, width))
    scale = longest / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize(array: Pixels, size: tuple[int, int]) -> Pixels:
    """Resize a picture or map to (height, width) px for people."""
    height, width = size
    return np.asarray(Image.fromarray(array).resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0))


def encode_jpeg(array: Pixels) -> bytes:
    """A picture uint8 [H, W, 3], or a gray map [H, W], as JPEG."""
    buffer = BytesIO()
    Image.fromarray(array).save(buffer, "JPEG", quality=85, optimize=True)
    return buffer.getvalue()


def encode_layer(map_: Pixels) -> bytes:
    """A map uint8 [H, W] as PNG: each pixel has the color of `pictures.EDGE_COLOR`, and the map's value as opacity."""
    levels = np.rint(map_.astype(np.float32) * ((NUM_LEVELS - 1) / 255)).astype(np.uint8)
    picture = Image.new("P", map_.shape[::-1])
    picture.frombytes(levels.tobytes())
    picture.putpalette(pictures.EDGE_COLOR * NUM_LEVELS)
    opacity = bytes(round(level * 255 / (NUM_LEVELS - 1)) for level in range(NUM_LEVELS))
    buffer = BytesIO()
    picture.save(buffer, "PNG", transparency=opacity, optimize=True)
    return buffer.getvalue()
