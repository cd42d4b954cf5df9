"""`cosal`, the command line beside the pipeline: maps of a folder of photographs, tables as PNG, scores of maps."""

import csv
import json
import shutil
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from icnet import checkpoint, images
from pipeline import (
    cluster,
    command,
    compare,
    export,
    index,
    papertable,
    pictures,
    predict,
    registry,
    scores,
    sism,
    tables,
    tracking,
)

CHAMPION = "models:/icnet@champion"
SHEET = 8
"""Images in a row of a contact sheet; SHEETS rows at most."""
SHEETS = 12
SCORES = ("weight", "area", "agreement", "saliency")

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


@app.command("predict")
def predict_command(
    photos: Annotated[Path, typer.Argument(help="a folder with a folder per group, or of one group's photographs")],
    out: Annotated[Path, typer.Argument(help="gets <group>/<name>.png, a sheet per group, scores.csv")],
    model: Annotated[str, typer.Option(help="models:/..., a checkpoint of ours or of the authors")] = CHAMPION,
    sism_method: Annotated[str | None, typer.Option("--sism", help="SOD method; the model's own, or gc")] = None,
    batch: Annotated[int, typer.Option(min=1, help="images through the network at once")] = 8,
) -> None:
    """Co-saliency maps of photographs, at their original sizes. A killed run goes on where it stopped."""
    if out.resolve().is_relative_to(photos.resolve()):
        raise export.ExportError(f"{out} lies inside {photos}: its maps would be photographs the next time")
    work = out / ".cosal"
    weights, spec = _model(model, work)
    size = checkpoint.load(weights).config.size
    index.make(photos.resolve(), work / "index", index.Dataset(root=str(photos)), index.Params())
    with cluster.connect():
        sism.make(work / "index", work / "samples", sism.Params(method=sism_method or spec), size)
        predict.make(work / "samples", weights, work / "maps", work / "cues", predict.Params(batch=batch))
    count = export.maps(work / "maps", out)
    groups = _sheets(work, out)
    _scores(work, out / "scores.csv")
    refused = _rejects(work, out / "rejects.csv")
    print(f"{count} co-saliency maps of {groups} groups in {out}, a sheet per group beside them, scores in scores.csv")
    if refused:
        print(f"{refused} files could not be used: {out / 'rejects.csv'} says why")
    for group in predict.silent(work / "maps"):
        print(f"group {group!r}: its SISMs show next to nothing, do not rely on its maps")


@app.command("export")
def export_command(
    table: Annotated[Path, typer.Argument(help="a folder of co-saliency maps or samples, e.g. data/maps/msrc")],
    out: Annotated[Path, typer.Argument(help="gets <group>/<name>.png")],
    column: Annotated[str | None, typer.Option(help="map, sism, mask or image; what the table has by default")] = None,
    cutouts: Annotated[
        Path | None, typer.Option(help="the index table: cut the images out by their maps, RGBA")
    ] = None,
) -> None:
    """The maps of a table as a tree of PNG files."""
    count = export.maps(table, out, column) if cutouts is None else export.cutouts(table, cutouts, out)
    print(f"{count} PNG files in {out}")


@app.command("score")
def score_command(
    maps: Annotated[Path, typer.Argument(help="a folder of <group>/<name>.png")],
    masks: Annotated[Path, typer.Argument(help="a folder of <group>/<name>.png")],
    void: Annotated[Path | None, typer.Option(help="a folder of masks of pixels without a label")] = None,
    size: Annotated[str, typer.Option(help="px of the square to score at, or original")] = "224",
    as_json: Annotated[bool, typer.Option("--json", help="everything, groups too, as JSON")] = False,
) -> None:
    """The field's metrics of anybody's maps; what is missing or left over is named."""
    if size != "original" and not (size.isdigit() and int(size)):
        raise typer.BadParameter(f"--size is px or original, got {size}")
    found = compare.compare(maps, masks, void, None if size == "original" else int(size))
    if as_json:
        print(json.dumps(found.content(), indent=1, ensure_ascii=False))
        return
    print(scores.table([(maps.name, size if size == "original" else f"{size} px", found.scores)]))
    for sentence in found.sentences():
        print(sentence)


@app.command("table")
def table_command(
    number: Annotated[int, typer.Argument(min=1, max=4, help="which table of the paper")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", "-S", help="a value of params.yaml for every line, key=value")
    ] = None,
    sods: Annotated[
        list[str] | None, typer.Option("--sism", help="Table 3: a SOD method to compare; the one configured, gc, ones")
    ] = None,
) -> None:
    """A table of the paper for the configured benchmarks, as DVC experiments that leave the workspace as it is."""
    print(papertable.make(number, settings or [], sods or []).text())


@app.command("rollback")
def rollback_command(
    version: Annotated[str | None, typer.Argument(help="the version to take; without it, the champion before")] = None,
    name: Annotated[str, typer.Option(help="the registered model")] = "icnet",
) -> None:
    """Make the champion before the champion again; the gate does not promote the version that is left by itself."""
    left, taken = registry.rollback(registry.Registry(name, tracking.server()), version)
    print(f"models:/{name}@champion is version {taken} again, no longer {left}")


def _model(model: str, work: Path) -> tuple[Path, str]:
    """The file of weights behind a name, and the SOD method that belongs to it."""
    if model.startswith("models:/"):
        shutil.rmtree(work / "model", ignore_errors=True)
        (work / "model").mkdir(parents=True)
        return registry.fetch(model, work / "model")
    if not Path(model).is_file():
        raise checkpoint.CheckpointError(
            f"there is no file {model}; a registered model is named models:/<name>@<alias>"
        )
    return Path(model), "gc"


def _sheets(work: Path, out: Path) -> int:
    """A contact sheet `<group>.jpg` per group: its first photographs, each over what its map keeps of it."""
    groups = tables.read(work / "maps", ["group"])["group"].to_pylist()
    starts = [row for row, group in enumerate(groups) if row == 0 or group != groups[row - 1]]
    for start, stop in zip(starts, [*starts[1:], len(groups)], strict=True):
        last = min(stop, start + SHEET * SHEETS)
        samples = {row["name"]: row for row in tables.read_rows(work / "samples", start, last).to_pylist()}
        rows = []
        for row in tables.read_rows(work / "maps", start, last, ["name", "map"]).to_pylist():
            image = images.decode(samples[row["name"]]["image"])
            found = images.resize(images.decode_gray(row["map"]), image.shape[:2])
            rows.append((row["name"], image, found, pictures.overlay(image, found)))
        picture = pictures.sheet(
            [[one[part] for one in line] for line in _lines(rows) for part in (1, 2, 3)],
            labels=[label for _ in _lines(rows) for label in ("image", "map", "kept")],
            title=f"{groups[start]}: {stop - start} images",
        )
        folder = export.place(out, groups[start], "sheet").parent
        Image.fromarray(picture).save(folder.with_name(f"{folder.name}.jpg"), quality=90)
    return len(starts)


def _lines(rows: list) -> list[list]:
    return [rows[start : start + SHEET] for start in range(0, len(rows), SHEET)]


def _scores(work: Path, file: Path) -> None:
    """Every image's scores, the group's least common image first."""
    rows = tables.read(work / "maps", ["group", "name", *SCORES]).to_pylist()
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


def main() -> None:
    """The console script."""
    command.answer(app, "cosal")
