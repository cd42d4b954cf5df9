"""The files that stage evaluate writes, and the manifest that lists them."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from icnet.images import encode
from pipeline import tables
from pipeline.metrics import frames, sums
from pipeline.metrics.frames import Intervals
from pipeline.metrics.records import IN_FIELD, ORIGINAL, RESIZED, Results, Row
from pipeline.runtime import files
from pipeline.runtime.csv_files import neutralize

MANIFEST, PAGE = "manifest.json", "index.html"

FILES = {f"{name}.csv" for name in ("scores", "groups", "curves", "absent")}
FILES |= {"metrics.json", "original.json", "field.json", "groups.parquet", "images.parquet", PAGE, MANIFEST}

IMAGES_ROW_GROUP_SIZE = 1 << 16

PANEL = re.compile(r"panels/(overview|(worst|best|group)-\d+)\.png")

UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.part")
"""Name of a file that was being written when the stage was killed."""


class OutputError(ValueError):
    """A folder that cannot be the output. The message names the file that is in the way."""


def is_up_to_date(folder: Path, key: str) -> bool:
    """Whether the folder holds complete and unchanged outputs with this key."""
    manifest = read_manifest(folder)
    return manifest.get("key") == key and all(
        (folder / name).is_file() and _digest_file(folder / name) == digest
        for name, digest in manifest["files"].items()
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest: the key of the outputs, and the digest of each file. Empty if it is missing or damaged."""
    try:
        content = json.loads((folder / MANIFEST).read_text())
        return content if isinstance(content["files"], dict) else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def check_folder(folder: Path) -> None:
    """Raises OutputError if the folder holds a file that this stage did not write. Hidden files are ignored."""
    for file in _list_files(folder):
        if not _is_own(file.relative_to(folder)) and not file.name.startswith("."):
            raise OutputError(f"{file} was not written by stage evaluate: move it, or choose another folder")


def _remove_outputs(folder: Path) -> None:
    """Remove what an earlier run wrote, the manifest first."""
    own = [file for file in _list_files(folder) if _is_own(file.relative_to(folder))]
    for file in sorted(own, key=lambda file: file.name != MANIFEST):
        file.unlink()


def _list_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_symlink() or not file.is_dir())


def _is_own(file: Path) -> bool:
    """Whether this stage writes such a file. `file` is relative to the folder."""
    known = file.as_posix() in FILES or PANEL.fullmatch(file.as_posix())
    return bool(known or UNFINISHED.fullmatch(file.name))


def write_outputs(
    folder: Path,
    key: str,
    found: Results,
    intervals: dict[Row, Intervals],
    panels: dict[str, np.ndarray],
    page: bytes,
) -> None:
    """Write all files, in place of those of an earlier run. The manifest is the last. Raises OutputError."""
    check_folder(folder)
    _remove_outputs(folder)
    (folder / "panels").mkdir(parents=True, exist_ok=True)
    for name, picture in panels.items():
        files.write_file(folder / "panels" / f"{name}.png", encode(picture))
    files.write_file(folder / PAGE, page)
    scores = found.sums
    sums.write_sums(folder / "groups.parquet", scores, found.dataset, found.edition)
    absent = pd.DataFrame(found.absent, columns=["method", "group", "name", "reason"])
    for name, frame in {
        "scores": frames.to_overall_frame(scores, intervals),
        "groups": frames.to_group_frame(scores),
        "curves": frames.to_curve_frame(scores),
        "absent": absent,
    }.items():
        content = frame.map(neutralize).to_csv(index=False, float_format="%.6f")
        files.write_file(folder / f"{name}.csv", content.encode(errors="surrogatepass"))
    rows = frames.to_image_tables(found)
    tables.stream_parquet(rows, frames.IMAGES, folder / "images.parquet", IMAGES_ROW_GROUP_SIZE)
    for name, way in (("field.json", IN_FIELD), ("original.json", ORIGINAL), ("metrics.json", RESIZED)):
        files.write_json(folder / name, frames.to_metrics(scores, way, len(found.absent)))
    _write_manifest(folder, key)


def _write_manifest(folder: Path, key: str) -> None:
    found = [file for file in _list_files(folder) if _is_own(file.relative_to(folder))]
    digests = {file.relative_to(folder).as_posix(): _digest_file(file) for file in found}
    files.write_json(folder / MANIFEST, {"key": key, "files": digests})


def _digest_file(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
