"""Tables as folders of PNG files, `<group>/<name>.png`, the layout that evaluation toolboxes read."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from icnet import images
from icnet.images.refine import refine
from pipeline import tables
from pipeline.cli.output import OutputFolder, ProtectedFiles
from pipeline.runtime.progress import Progress

ROWS_IN_MEMORY = 64


class ExportError(ValueError):
    """A table without the column that is asked for, or a name that is not a file name."""


def export_maps(table: Path, out: Path, column: str | None = None) -> int:
    """Write the co-saliency maps of a maps table, or the SISMs of a samples table, or `column`; returns their number.

    Raises ExportError if the table has no such column, and OutputError if a file must not be written.
    """
    columns = [column or "map"]
    if tables.load_manifest(table)["rows"]:
        columns = [field.name for field in tables.read_rows(table, 0, 1).schema if pa.types.is_binary(field.type)]
    column = column or next((name for name in ("map", "sism") if name in columns), "map")
    if column not in columns:
        raise ExportError(f"{table} has no column {column!r} of images, it has: {', '.join(columns) or 'none'}")
    output = OutputFolder(out)
    output.plan(_list_names(table), ProtectedFiles.find([table], []))
    count = 0
    with output.lock():
        output.start()
        for row in _iterate_rows(table, column):
            if row[column] is not None:
                output.write(name_png(row["group"], row["name"]), row[column])
                count += 1
        output.remove_old_files()
    return count


def export_cutouts(table: Path, index: Path, out: Path, refined: bool = True) -> int:
    """Write each image, upright and at its original size, with its map as transparency (RGBA); returns their number.

    `refined`: whether the edges of the maps follow those of the images.

    Raises ExportError if the table has no co-saliency maps or one of an image that is not in the index, ImageError or
    OriginalError if an image of the index cannot be read or was changed, and OutputError if a file must not be written.
    """
    root = Path(tables.load_manifest(index)["root"])
    rows = tables.read_table(index, ["group", "name", "image", "image_digest", "mask", "void"]).to_pylist()
    paths = [root / row[kind] for row in rows for kind in ("image", "mask", "void") if row[kind] is not None]
    originals = {(row["group"], row["name"]): (row["image"], row["image_digest"]) for row in rows}
    keys = [(row["group"], row["name"]) for row in tables.read_table(table, ["group", "name"]).to_pylist()]
    if keys and "map" not in tables.read_rows(table, 0, 1).column_names:
        raise ExportError(f"{table} is no table of co-saliency maps")
    if unknown := [key for key in keys if key not in originals]:
        raise ExportError(f"{'/'.join(unknown[0])} of {table} is no image of {index}")
    output = OutputFolder(out)
    output.plan(_list_names(table), ProtectedFiles.find([root, table, index], paths))
    count = 0
    with output.lock():
        output.start()
        for row in _iterate_rows(table, "map"):
            image = images.decode(tables.read_original(root, *originals[row["group"], row["name"]]))
            alpha = images.resize(images.decode_gray(row["map"]), image.shape[:2])
            alpha = refine(alpha, image) if refined else alpha
            output.write(name_png(row["group"], row["name"]), _encode_rgba(image, alpha))
            count += 1
        output.remove_old_files()
    return count


def name_png(group: str, name: str) -> str:
    """The PNG file of an image, as a path below the output folder.

    A group of a nested folder is a path. Raises ExportError if a part of group or name is not a plain file name.
    """
    for part in (*group.split("/"), name):
        if part in ("", ".", "..") or "/" in part or "\0" in part:
            raise ExportError(f"{group}/{name} is not the name of a file below the output folder")
    return f"{group}/{name}.png"


def _list_names(table: Path) -> list[str]:
    rows = tables.read_table(table, ["group", "name"]).to_pylist()
    return [name_png(row["group"], row["name"]) for row in rows]


def _iterate_rows(table: Path, column: str) -> Iterator[dict[str, Any]]:
    total = tables.load_manifest(table)["rows"]
    with Progress("PNG files", total) as progress:
        for start in range(0, total, ROWS_IN_MEMORY):
            stop = min(total, start + ROWS_IN_MEMORY)
            rows = tables.read_rows(table, start, stop, ["group", "name", column]).to_pylist()
            yield from rows
            progress.update(len(rows))


def _encode_rgba(image: np.ndarray, alpha: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.dstack([image, alpha])).save(buffer, "PNG")
    return buffer.getvalue()
