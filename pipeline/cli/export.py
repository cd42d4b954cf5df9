"""Tables as folders of PNG files, `<group>/<name>.png`, as the field's evaluation toolboxes read them."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from icnet import images
from pipeline import tables

CHUNK_SIZE = 64
"""Rows in memory at a time."""


class ExportError(ValueError):
    """A table that has no such maps, or a name that would lead out of the folder."""


def export_maps(table: Path, out: Path, column: str | None = None) -> int:
    """Write the co-saliency maps of a maps table, or the SISMs (or `column`) of a samples table; returns how many.

    Files are whole or not there. Raises ExportError where the table has no such column.
    """
    known = tables.read_rows(table, 0, 1).column_names if tables.load_manifest(table)["rows"] else [column or "map"]
    column = column or next((name for name in ("map", "sism") if name in known), None)
    if column not in known:
        raise ExportError(f"{table} has no column {column!r} of maps (there: {', '.join(known)})")
    return sum(_write(out, row, row[column]) for row in _rows(table, column) if row[column] is not None)


def export_cutouts(table: Path, index: Path, out: Path) -> int:
    """Write each image, upright and at its original size, with its co-saliency map as transparency; returns how many.

    Raises BadImage or OSError where an image of the index can no longer be read.
    """
    root = Path(tables.load_manifest(index)["root"])
    listed = tables.read_table(index, ["group", "name", "image"]).to_pylist()
    files = {(row["group"], row["name"]): root / row["image"] for row in listed}
    count = 0
    for row in _rows(table, "map"):
        picture = images.decode(files[row["group"], row["name"]].read_bytes())
        alpha = images.resize(images.decode_gray(row["map"]), picture.shape[:2])
        count += _write(out, row, _rgba(picture, alpha))
    return count


def make_path(out: Path, group: str, name: str) -> Path:
    """The file of an image below `out`. Raises ExportError where it would lie anywhere else."""
    file = out / group / f"{name}.png"
    if file.resolve().parent.parent != out.resolve():
        raise ExportError(f"{group}/{name} is no file name below {out}")
    return file


def _rows(table: Path, column: str) -> Iterator[dict[str, Any]]:
    total = tables.load_manifest(table)["rows"]
    with tqdm(total=total, unit="image", desc=f"{column}s to PNG", mininterval=1.0) as bar:
        for start in range(0, total, CHUNK_SIZE):
            rows = tables.read_rows(table, start, min(total, start + CHUNK_SIZE), ["group", "name", column]).to_pylist()
            yield from rows
            bar.update(len(rows))


def _write(out: Path, row: dict[str, Any], data: bytes) -> int:
    file = make_path(out, row["group"], row["name"])
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.part")
    temporary.write_bytes(data)
    temporary.replace(file)
    return 1


def _rgba(picture: np.ndarray, alpha: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.dstack([picture, alpha])).save(buffer, "PNG")
    return buffer.getvalue()
