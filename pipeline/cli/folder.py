"""Co-saliency maps of a folder of photographs, without params.yaml."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icnet import checkpoint
from pipeline import tables
from pipeline.cli.csv_files import format_csv
from pipeline.cli.export import name_png
from pipeline.cli.models import DEFAULT_MODEL, find_model
from pipeline.cli.output import WORK_FOLDER, OutputFolder
from pipeline.cli.photographs import (
    REJECTS_FILE,
    SCORES_FILE,
    Photographs,
    find_photographs,
    has_map_file,
    name_sheet,
)
from pipeline.cli.sheets import draw_group_sheets
from pipeline.index.config import IndexConfig
from pipeline.index.layouts import Dataset
from pipeline.index.stage import index_collection
from pipeline.predict.config import PredictConfig
from pipeline.predict.stage import find_empty_groups, predict_maps
from pipeline.runtime import cluster, locks
from pipeline.sism.config import SismConfig
from pipeline.sism.stage import make_samples

ROWS_IN_MEMORY = 64

SCORES = ("weight", "area", "agreement", "saliency")


@dataclass(frozen=True)
class Options:
    """How `cosal predict` makes maps. `sism_method`: None takes that of the model."""

    model: str = DEFAULT_MODEL
    sism_method: str | None = None
    batch_size: int = 8


@dataclass(frozen=True)
class Summary:
    """What was written. `removed`: files of earlier runs, as paths below the output folder."""

    maps: int
    groups: int
    rejects: int
    empty_groups: list[str]
    removed: list[str]


def predict_folder(root: Path, out: Path, options: Options) -> Summary:
    """Write the maps of the photographs below `root`, a contact sheet per group, scores and rejects to `out`.

    An interrupted run continues where it stopped. Raises OutputError, before anything is written, if a file must not be
    written, LockedError if another process writes to `out`, and CollectionError if there is no image.
    """
    photographs, output = find_photographs(root, out), OutputFolder(out)
    output.plan(photographs.list_outputs(), photographs.find_protected())
    work = output.folder / WORK_FOLDER
    with locks.lock_output(work):
        _compute_maps(photographs, work, options)
        count = _write_maps(work / "maps", output)
        groups = _write_sheets(work, output)
        _write_scores(work / "maps", output)
        rejects = _write_rejects(work, photographs, output)
        return Summary(count, groups, rejects, find_empty_groups(work / "maps"), output.remove_old_files())


def _compute_maps(photographs: Photographs, work: Path, options: Options) -> None:
    model = find_model(options.model, work / "model")
    size = checkpoint.load(model.weights).config.size
    sism = SismConfig(method=options.sism_method or model.sism_method)
    config = PredictConfig(batch_size=options.batch_size)
    index_collection(photographs.root, work / "index", Dataset(root=str(photographs.root)), IndexConfig())
    with cluster.connect():
        make_samples(work / "index", work / "samples", sism, size)
        predict_maps(work / "samples", model.weights, work / "maps", work / "cues", config)


def _write_maps(maps: Path, output: OutputFolder) -> int:
    count, total = 0, tables.load_manifest(maps)["rows"]
    for start in range(0, total, ROWS_IN_MEMORY):
        stop = min(total, start + ROWS_IN_MEMORY)
        for row in tables.read_rows(maps, start, stop, ["group", "name", "map"]).to_pylist():
            if has_map_file(row["group"], row["name"]):
                output.write(name_png(row["group"], row["name"]), row["map"])
                count += 1
    return count


def _write_sheets(work: Path, output: OutputFolder) -> int:
    count = 0
    for group, sheet in draw_group_sheets(work / "samples", work / "maps"):
        count += 1
        if name_sheet(group) in output.planned:
            output.write(name_sheet(group), sheet)
    return count


def _write_scores(maps: Path, output: OutputFolder) -> None:
    """Write the scores of every image; the image that has least in common with its group is first."""
    rows = tables.read_table(maps, ["group", "name", *SCORES]).to_pylist()
    rows.sort(key=lambda row: (row["group"], row["weight"]))
    cells = [[row["group"], row["name"], *(f"{row[name]:.4f}" for name in SCORES)] for row in rows]
    output.write(SCORES_FILE, format_csv(["group", "name", *SCORES], cells))


def _write_rejects(work: Path, photographs: Photographs, output: OutputFolder) -> int:
    rows: list[dict[str, Any]] = photographs.list_rejects()
    for table in ("index", "samples"):
        rows += tables.read_rejects(work / table).to_pylist()
    columns = tables.REJECTS.names
    output.write(REJECTS_FILE, format_csv(columns, [[row[name] for name in columns] for row in rows]))
    return len(rows)
