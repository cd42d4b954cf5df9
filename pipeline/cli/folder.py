"""Maps of a folder of photographs, without params.yaml."""

import csv
import shutil
from pathlib import Path

from PIL import Image

from icnet import images, official
from pipeline import pictures, tables
from pipeline.cli.export import make_path
from pipeline.register.package import fetch_model

SHEET_COLUMNS = 8
"""Images in a row of a contact sheet; SHEETS rows at most."""

SHEET_ROWS = 12

SCORES = ("weight", "area", "agreement", "saliency")


def _model(model: str, work: Path) -> tuple[Path, str]:
    """The file of weights behind a name, and the SOD method that belongs to it."""
    if model.startswith("models:/"):
        shutil.rmtree(work / "model", ignore_errors=True)
        (work / "model").mkdir(parents=True)
        return fetch_model(model, work / "model")
    if not Path(model).is_file():
        raise official.CheckpointError(f"there is no file {model}; a registered model is named models:/<name>@<alias>")
    return Path(model), "gc"


def _sheets(work: Path, out: Path) -> int:
    """A contact sheet `<group>.jpg` per group: its first photographs, each over what its map keeps of it."""
    groups = tables.read_table(work / "maps", ["group"])["group"].to_pylist()
    starts = [row for row, group in enumerate(groups) if row == 0 or group != groups[row - 1]]
    for start, stop in zip(starts, [*starts[1:], len(groups)], strict=True):
        last = min(stop, start + SHEET_COLUMNS * SHEET_ROWS)
        samples = {row["name"]: row for row in tables.read_rows(work / "samples", start, last).to_pylist()}
        rows = []
        for row in tables.read_rows(work / "maps", start, last, ["name", "map"]).to_pylist():
            image = images.decode(samples[row["name"]]["image"])
            found = images.resize(images.decode_gray(row["map"]), image.shape[:2])
            rows.append((row["name"], image, found, pictures.draw_overlay(image, found)))
        picture = pictures.draw_sheet(
            [[one[part] for one in line] for line in _lines(rows) for part in (1, 2, 3)],
            labels=[label for _ in _lines(rows) for label in ("image", "map", "kept")],
            title=f"{groups[start]}: {stop - start} images",
        )
        folder = make_path(out, groups[start], "sheet").parent
        Image.fromarray(picture).save(folder.with_name(f"{folder.name}.jpg"), quality=90)
    return len(starts)


def _lines(rows: list) -> list[list]:
    return [rows[start : start + SHEET_COLUMNS] for start in range(0, len(rows), SHEET_COLUMNS)]


def _scores(work: Path, file: Path) -> None:
    """Every image's scores, the group's least common image first."""
    rows = tables.read_table(work / "maps", ["group", "name", *SCORES]).to_pylist()
    rows.sort(key=lambda row: (row["group"], row["weight"]))
    with file.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["group", "name", *SCORES])
        writer.writerows([row["group"], row["name"], *(f"{row[name]:.4f}" for name in SCORES)] for row in rows)


def _rejects(work: Path, file: Path) -> int:
    rows = [row for stage in ("index", "samples") for row in tables.read_rejects(work / stage).to_pylist()]
    with file.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, tables.REJECTS.names)
        writer.writeheader()
        writer.writerows(rows)
    return len(rows)
