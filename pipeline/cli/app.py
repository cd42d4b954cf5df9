"""`cosal`, the command line beside the pipeline: maps of a folder of photographs, tables as PNG, scores of maps."""

import json
from pathlib import Path
from typing import Annotated

import typer

from icnet import checkpoint
from pipeline import tracking
from pipeline.cli.export import ExportError, export_cutouts, export_maps
from pipeline.cli.folder import _model, _rejects, _scores, _sheets
from pipeline.evaluate.compare import compare_folders
from pipeline.index.config import IndexConfig
from pipeline.index.layouts import Dataset
from pipeline.index.stage import index_collection
from pipeline.metrics import aggregate
from pipeline.papertables.run import make_table
from pipeline.predict.config import PredictConfig
from pipeline.predict.stage import find_empty_groups, predict_maps
from pipeline.register.registry import Registry, roll_back
from pipeline.runtime import cluster, entrypoint
from pipeline.sism.config import SismConfig
from pipeline.sism.stage import make_samples

CHAMPION = "models:/icnet@champion"

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
        raise ExportError(f"{out} lies inside {photos}: its maps would be photographs the next time")
    work = out / ".cosal"
    weights, spec = _model(model, work)
    size = checkpoint.load(weights).config.size
    index_collection(photos.resolve(), work / "index", Dataset(root=str(photos)), IndexConfig())
    with cluster.connect():
        make_samples(work / "index", work / "samples", SismConfig(method=sism_method or spec), size)
        predict_maps(work / "samples", weights, work / "maps", work / "cues", PredictConfig(batch_size=batch))
    count = export_maps(work / "maps", out)
    groups = _sheets(work, out)
    _scores(work, out / "scores.csv")
    refused = _rejects(work, out / "rejects.csv")
    print(f"{count} co-saliency maps of {groups} groups in {out}, a sheet per group beside them, scores in scores.csv")
    if refused:
        print(f"{refused} files could not be used: {out / 'rejects.csv'} says why")
    for group in find_empty_groups(work / "maps"):
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
    count = export_maps(table, out, column) if cutouts is None else export_cutouts(table, cutouts, out)
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
    found = compare_folders(maps, masks, void, None if size == "original" else int(size))
    if as_json:
        print(json.dumps(found.content(), indent=1, ensure_ascii=False))
        return
    print(aggregate.format_table([(maps.name, size if size == "original" else f"{size} px", found.scores)]))
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
    print(make_table(number, settings or [], sods or []).text())


@app.command("rollback")
def rollback_command(
    version: Annotated[str | None, typer.Argument(help="the version to take; without it, the champion before")] = None,
    name: Annotated[str, typer.Option(help="the registered model")] = "icnet",
) -> None:
    """Make the champion before the champion again; the gate does not promote the version that is left by itself."""
    left, taken = roll_back(Registry(name, tracking.find_server()), version)
    print(f"models:/{name}@champion is version {taken} again, no longer {left}")


def main() -> None:
    """The console script."""
    entrypoint.run_app(app, "cosal")
