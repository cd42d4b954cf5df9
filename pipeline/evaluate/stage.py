"""Stage evaluate: co-saliency maps + masks -> metrics, curves and sheets of ICNet, its SISMs and other methods."""

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import tables
from pipeline.evaluate.config import EvaluateConfig
from pipeline.evaluate.folders import FolderError, find_maps
from pipeline.evaluate.inputs import Inputs, find_method_folder, make_key
from pipeline.evaluate.mlflow_log import log_outputs
from pipeline.evaluate.outputs import check_folder, is_up_to_date, write_outputs
from pipeline.evaluate.page import render_page
from pipeline.evaluate.panels import draw_panels
from pipeline.evaluate.scoring import ALL, plan_tasks, run_tasks
from pipeline.evaluate.summary import print_results
from pipeline.metrics.aggregate import ScoreTotals
from pipeline.metrics.records import ICNET, RESIZED, SISM, WAYS, Absent, ImageMetrics, Results, list_absent
from pipeline.metrics.score import Key
from pipeline.runtime import locks, params, report

DIGESTS = ("image_digest", "mask_digest", "void_digest")

BATCH_ROWS = 10_000
"""Rows of the index that are Python objects at the same time."""


def score_dataset(inputs: Inputs, config: EvaluateConfig) -> Results:
    """Score every method on a dataset. The results name what could not be scored.

    Raises TableError if a table is unfinished, OriginalError if a mask changed after it was indexed.
    """
    index = tables.read_table(inputs.index)
    index = index.filter(pc.is_valid(index["mask"]))
    others, absent = _find_other_maps(inputs, config, index)
    known = tables.find_positions(index, tables.read_table(inputs.samples, ["group", "name"])) >= 0
    absent += list_absent(ALL, _list_keys(index.filter(pa.array(~known))), "has no sample")
    edition = _fingerprint_masks(index)
    index = index.filter(pa.array(known))
    keys = index.select(["group", "name"])
    found = Results(inputs.dataset, edition, tables.load_manifest(inputs.samples)["size"], keys, absent=absent)
    _score_images(found, index, inputs, config, others)
    return found


def _score_images(
    found: Results, index: pa.Table, inputs: Inputs, config: EvaluateConfig, others: dict[str, dict[Key, Path]]
) -> None:
    groups = index["group"].unique().sort().to_pylist()
    rows = [(name, way) for way in WAYS for name in (ICNET, SISM, *others)]
    totals = {row: ScoreTotals(groups) for row in rows}
    found.images = {row: ImageMetrics(len(index)) for row in rows}
    absent = {}
    planned = plan_tasks(index, inputs, config.shard_size, others)
    for part in run_tasks(planned, len(index), f"scores on {inputs.dataset}"):
        for row, sums in part.sums.items():
            totals[row].add(sums)
            places = part.start + np.array(part.places[row])
            found.images[row].values[places] = part.metrics[row]
            found.images[row].scored[places] = True
        absent[part.start] = part.absent
    for start in sorted(absent):
        found.absent += absent[start]
    found.sums = {row: one.to_scores() for row, one in totals.items()}


def _fingerprint_masks(index: pa.Table) -> str:
    """A digest of the keys and files of the images that have a mask."""
    columns = index.select(["group", "name", *DIGESTS])
    batches = columns.to_batches(BATCH_ROWS)
    return tables.fingerprint_rows([list(row.values()) for row in batch.to_pylist()] for batch in batches)


def _list_keys(table: pa.Table) -> list[Key]:
    return list(zip(table["group"].to_pylist(), table["name"].to_pylist(), strict=True))


def _find_other_maps(
    inputs: Inputs, config: EvaluateConfig, index: pa.Table
) -> tuple[dict[str, dict[Key, Path]], list[Absent]]:
    """The files of other methods' maps, and the maps that are missing or match no image."""
    if clash := {ICNET, SISM, ALL} & set(config.methods):
        raise params.ParamsError(f"params.yaml: `evaluate.methods`: the name {min(clash)} is taken")
    files: dict[str, dict[Key, Path]] = {}
    absent: list[Absent] = []
    keys = _list_keys(index) if config.methods else []
    for method, pattern in config.methods.items():
        folder = find_method_folder(pattern, inputs)
        try:
            maps = find_maps(folder, keys)
        except FolderError as error:
            absent += list_absent(method, [("", "")], str(error))
            continue
        files[method] = {key: file.resolve() for key, file in maps.files.items()}
        absent += list_absent(method, maps.missing, f"has no map in {folder}")
        absent += list_absent(method, maps.extra, f"is a map in {folder} that matches no image with a mask")
    return files, absent


def evaluate_dataset(inputs: Inputs, out: Path, config: EvaluateConfig) -> None:
    """Score one dataset into the folder `out`, unless the scores are there, and log them to MLflow.

    Raises TableError if a table is unfinished or a mask changed, OutputError if `out` holds files of another program,
    and TrackingError if MLflow fails. The files are written before MLflow is used.
    """
    key = make_key(inputs, config)
    if is_up_to_date(out, key):
        report.print_summary("evaluate", f"the scores in {out} are up to date")
    else:
        check_folder(out)
        _write_scores(inputs, out, config, key)
    logged = log_outputs(inputs, out, key)
    report.print_summary(
        "evaluate", f"compare runs in MLflow (`make ui`): {logged}" if logged else "MLflow has them already"
    )


def _write_scores(inputs: Inputs, out: Path, config: EvaluateConfig, key: str) -> None:
    start = time.perf_counter()
    found = score_dataset(inputs, config)
    sums = found.sums
    intervals = {row: one.intervals(config.confidence, config.resamples, config.seed) for row, one in sums.items()}
    panels, page = draw_panels(inputs, sums, config.num_panels), render_page(inputs, found, config.num_page_groups)
    write_outputs(out, key, found, intervals, panels, page)
    print_results(found, intervals, out)
    seconds = time.perf_counter() - start
    report.print_summary("evaluate", f"{sums[ICNET, RESIZED].images} images of {inputs.dataset} in {seconds:.1f} s")


def main(index: Path, samples: Path, maps: Path, model: Path, out: Path) -> None:
    """Score the maps in MAPS and the SISMs in SAMPLES against the masks of INDEX; write to OUT and to MODEL's run."""
    root = Path(tables.load_manifest(index)["root"])
    inputs = Inputs(index.name, root, index, samples, maps, model)
    with locks.lock_output(out):
        evaluate_dataset(inputs, out, params.load_section("evaluate", EvaluateConfig))
