"""Contact sheets: the photographs of a group above their maps and what the maps keep of them."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from icnet import images
from pipeline import pictures, tables

COLUMNS = 8
"""Photographs side by side."""

MAX_ROWS = 12
"""Rows of photographs; a sheet shows the first ones of a large group."""


def draw_group_sheets(samples: Path, maps: Path) -> Iterator[tuple[str, bytes]]:
    """The name of each group and its contact sheet as JPEG."""
    keys = tables.read_table(maps, ["group", "name"])
    rows, groups = tables.find_positions(keys, tables.read_table(samples, ["group", "name"])), keys["group"].to_pylist()
    starts = [row for row, group in enumerate(groups) if row == 0 or group != groups[row - 1]]
    for start, stop in zip(starts, [*starts[1:], len(groups)], strict=True):
        yield groups[start], _draw_sheet(samples, maps, rows, groups[start], start, stop)


def _draw_sheet(samples: Path, maps: Path, rows: np.ndarray, group: str, start: int, stop: int) -> bytes:
    """`rows`: the row in `samples` of each row of `maps`."""
    last = min(stop, start + COLUMNS * MAX_ROWS)
    found = tables.read_rows(samples, int(rows[start]), int(rows[last - 1]) + 1, ["name", "image"]).to_pylist()
    photographs = {row["name"]: images.decode(row["image"]) for row in found}
    cells = []
    for row in tables.read_rows(maps, start, last, ["name", "map"]).to_pylist():
        photograph = photographs[row["name"]]
        map_ = images.resize(images.decode_gray(row["map"]), photograph.shape[:2])
        cells.append((photograph, map_, pictures.draw_overlay(photograph, map_)))
    lines = [cells[first : first + COLUMNS] for first in range(0, len(cells), COLUMNS)]
    sheet = pictures.draw_sheet(
        [[cell[part] for cell in line] for line in lines for part in range(3)],
        labels=["image", "map", "kept"] * len(lines),
        title=f"{group}: {stop - start} images",
    )
    return _encode_jpeg(sheet)


def _encode_jpeg(picture: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
