"""`cosal`: co-saliency maps of photographs, tables as PNG files, scores of maps.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done, but files were rejected and --strict is set.
"""

import json
import sys
from contextlib import nullcontext, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.runtime import entrypoint

# Commands import what they need when they run: all imports together take seconds, also for --help and completion.

EXIT_REJECTS = 3

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


@app.command("predict")
def predict_command(
    photos: Annotated[
        list[Path],
        typer.Argument(help="A folder with a folder per group, or one group: a folder, a zip archive or image files."),
    ],
    out: Annotated[
        Path,
        typer.Argument(
            help="Gets <group>/<name>.png, a contact sheet <group>.jpg, index.html, scores.csv and rejects.csv."
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            help="models:/<name>@<alias>, or a checkpoint of this project or of the authors. "
            "Default: the trained network of this repository, weights/icnet.safetensors.",
            show_default=False,
        ),
    ] = None,
    sism_method: Annotated[
        str | None, typer.Option("--sism", help="SOD method. Default: the model's, or gc for checkpoints without one.")
    ] = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", "--batch", min=1, help="Images that go through the network at once.")
    ] = 8,
    ray: Annotated[
        bool | None,
        typer.Option(
            "--ray/--no-ray",
            help="Compute on a Ray cluster, or in this process. Default: on Ray for large collections, or if "
            "RAY_ADDRESS is set.",
            show_default=False,
        ),
    ] = None,
    page: Annotated[
        bool, typer.Option("--gallery/--no-gallery", help="Write index.html, a page to look at the maps.")
    ] = True,
    looks: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=3,
            help="How often each group is compared: first by the SISMs, then by the maps. Default: the model's.",
            show_default=False,
        ),
    ] = None,
    refine: Annotated[
        bool, typer.Option("--refine/--no-refine", help="Edges of the maps follow those of the photographs.")
    ] = False,
    groups: Annotated[
        Path | None,
        typer.Option(
            help="CSV file with the columns photo and group: groups in place of the folders (docs/groups.md)."
        ),
    ] = None,
    ungrouped: Annotated[
        bool, typer.Option("--ungrouped", help="Find the groups first, whatever the folders are; groups.csv has them.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 if files were rejected.")] = False,
) -> None:
    """Write the co-saliency maps of photographs at their original sizes.

    An interrupted run continues where it stopped. Example: cosal predict holiday maps
    """
    from icnet.checkpoint import WEIGHTS_FILE
    from pipeline.cli.folder import Options, predict_folder

    if groups is not None and ungrouped:
        raise typer.BadParameter("--groups and --ungrouped exclude each other")
    options = Options(model or str(WEIGHTS_FILE), sism_method, batch_size, ray, page, refine, groups, ungrouped, looks)
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        summary = predict_folder(photos, out, options)
    if as_json:
        print(json.dumps(asdict(summary), indent=1, ensure_ascii=False))
    else:
        print(summary.format_text(out))
    if strict and summary.rejects:
        raise typer.Exit(EXIT_REJECTS)


@app.command("group")
def group_command(
    photos: Annotated[list[Path], typer.Argument(help="A folder, a zip archive or image files; folders are ignored.")],
    out: Annotated[Path, typer.Argument(help="Gets groups.csv: photo, group, confidence, copy_of.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="Checkpoint, or models:/<name>@<alias>. Default: weights/icnet.safetensors.", show_default=False
        ),
    ] = None,
    sism_method: Annotated[str | None, typer.Option("--sism", help="SOD method. Default: the model's.")] = None,
    smallest: Annotated[int, typer.Option(min=2, help="Photographs of the smallest group.")] = 5,
    cohesion: Annotated[
        float | None,
        typer.Option(min=0, max=0.99, help="Smallest mean cosine of a group. Default: 0.25.", show_default=False),
    ] = None,
    embedding: Annotated[
        str | None,
        typer.Option(help="`onnx:FILE` describes photographs in place of the model's SIVs.", show_default=False),
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="CSV file of the true groups, photo and group: print how well they were found.")
    ] = None,
    links: Annotated[bool, typer.Option("--links", help="Also write links/<group>/<file>.")] = False,
    ray: Annotated[
        bool | None,
        typer.Option("--ray/--no-ray", help="Compute on a Ray cluster, or in this process.", show_default=False),
    ] = None,
) -> None:
    """Find groups of photographs that show the same kind of object (docs/groups.md).

    An interrupted run continues where it stopped. Example: cosal group holiday groups
    """
    from icnet.checkpoint import WEIGHTS_FILE
    from pipeline.cli.grouping import GroupOptions, group_folder
    from pipeline.group.config import GroupConfig

    given = {} if cohesion is None else {"cohesion": cohesion}
    config = GroupConfig(model=model or str(WEIGHTS_FILE), embedding=embedding, min_group_size=smallest, **given)
    print(group_folder(photos, out, GroupOptions(config, sism_method, ray, links, truth)).format_text(out))


@app.command("export")
def export_command(
    table: Annotated[Path, typer.Argument(help="A table of co-saliency maps or samples, e.g. data/maps/msrc.")],
    out: Annotated[Path, typer.Argument(help="Gets <group>/<name>.png.")],
    column: Annotated[
        str | None, typer.Option(help="map, sism, mask or image. Default: map, or sism of a samples table.")
    ] = None,
    cutouts: Annotated[
        Path | None, typer.Option(help="Index table: write the images with their maps as transparency (RGBA).")
    ] = None,
    refine: Annotated[
        bool, typer.Option("--refine/--no-refine", help="Edges of cut-outs follow those of the images.")
    ] = True,
) -> None:
    """Write the maps of a table as PNG files. Example: cosal export data/maps/msrc pngs"""
    from pipeline.cli.export import export_cutouts, export_maps

    count = export_maps(table, out, column) if cutouts is None else export_cutouts(table, cutouts, out, refine)
    print(f"{count} PNG files in {out}")


@app.command("export-onnx")
def export_onnx_command(
    model: Annotated[str, typer.Argument(help="A checkpoint, or models:/<name>@<alias>.")],
    out: Annotated[
        Path, typer.Argument(help="Gets cues.onnx, maps.onnx, and next_cues.onnx for a network with several looks.")
    ],
    int8: Annotated[
        bool, typer.Option("--int8", help="Weights of matrix products in int8: smaller and faster, less exact.")
    ] = False,
) -> None:
    """Write a network as ONNX graphs, and check them against PyTorch (docs/onnx.md).

    Example: cosal export-onnx weights/icnet.safetensors graphs
    """
    from pipeline.cli.graphs import write_graphs

    print(write_graphs(model, out, int8))


@app.command("gallery")
def gallery_command(
    table: Annotated[Path, typer.Argument(help="A table of co-saliency maps, e.g. data/maps/msrc.")],
    out: Annotated[Path, typer.Argument(help="Gets index.html, and its thumbnails in index_files.")],
    samples: Annotated[
        Path | None, typer.Option(help="Samples table of the maps. Default: data/samples/<name> for data/maps/<name>.")
    ] = None,
) -> None:
    """Write a page to look at the maps of a table. Example: cosal gallery data/maps/msrc page"""
    from pipeline.cli.gallery import PAGE, make_gallery

    count = make_gallery(table, out, samples)
    print(f"{count} photographs: open {out / PAGE} in a browser")


@app.command("score")
def score_command(
    maps: Annotated[Path, typer.Argument(help="A folder of <group>/<name>.png.")],
    masks: Annotated[Path, typer.Argument(help="A folder of <group>/<name>.png.")],
    void: Annotated[Path | None, typer.Option(help="A folder of masks of pixels that are not scored.")] = None,
    convention: Annotated[
        Literal["paper", "field"],
        typer.Option(
            help="paper: maps as they are. field: each map is stretched to the full range first, as PySODMetrics does "
            "by default."
        ),
    ] = "paper",
    size: Annotated[
        str | None,
        typer.Option(
            help="Side of the square at which maps are scored in px, or original. Default: 224 for paper, original for "
            "field.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all scores, also of each group, as JSON.")] = False,
) -> None:
    """Score maps against masks; maps or masks without a partner are listed. Example: cosal score maps masks"""
    from pipeline.evaluate.compare import compare_folders
    from pipeline.metrics import aggregate

    size = size or ("224" if convention == "paper" else "original")
    if size != "original" and not (size.isdecimal() and int(size)):
        raise typer.BadParameter(f"--size is a number of px or original, got {size}")
    comparison = compare_folders(maps, masks, void, None if size == "original" else int(size), convention)
    if as_json:
        print(json.dumps(comparison.content(), indent=1, ensure_ascii=False))
        return
    label = size if size == "original" else f"{size} px"
    print(aggregate.format_table([(maps.name, label, convention, comparison.scores)]))
    for sentence in comparison.sentences():
        print(sentence)


@app.command("verify")
def verify_command(
    folders: Annotated[list[Path], typer.Argument(help="Tables, e.g. data/samples/* data/maps/*.")],
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Remove shards that the manifests of these tables do not name.")
    ] = False,
) -> None:
    """Read every shard of tables in storage, remove altered ones, and name the command that makes them again."""
    from pipeline.cli.verify import verify_tables

    verify_tables(folders, sweep)


@app.command("table")
def table_command(
    number: Annotated[int, typer.Argument(min=1, max=5, help="Number of the table in the paper, or 5: later methods.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", "-S", help="A value of params.yaml for every row, key=value.")
    ] = None,
    sods: Annotated[
        list[str] | None, typer.Option("--sism", help="Table 3: SOD method to compare. Default: sism.method, gc, ones.")
    ] = None,
    form: Annotated[
        Literal["text", "csv", "latex"], typer.Option("--format", help="How the table is printed.")
    ] = "text",
) -> None:
    """Make a table of the paper for the configured benchmarks, as DVC experiments that leave the workspace unchanged.

    Example: cosal table 2 -S train.epochs=10
    """
    from pipeline.papertables.run import make_table

    print(make_table(number, settings or [], sods or []).render(form))


@app.command("rollback")
def rollback_command(
    version: Annotated[str | None, typer.Argument(help="Version to promote. Default: the previous champion.")] = None,
    name: Annotated[str, typer.Option(help="Name of the registered model.")] = "icnet",
) -> None:
    """Promote the previous champion of the registered model again. The replaced version stays registered."""
    from pipeline import tracking
    from pipeline.register.registry import Registry, roll_back

    old, new = roll_back(Registry(name, tracking.find_server()), version)
    print(f"models:/{name}@champion is version {new}, it was version {old}")


def main() -> None:
    """Run `cosal`."""
    entrypoint.run_app(app, "cosal")
