"""Stage evaluate: co-saliency maps + masks -> metrics, curves and sheets of ICNet, its SISMs and other methods."""

import time
from pathlib import Path

from pipeline import tables
from pipeline.evaluate.config import EvaluateConfig
from pipeline.evaluate.folders import FolderError, find_maps
from pipeline.evaluate.inputs import Inputs, find_method_folder, make_key
from pipeline.evaluate.mlflow_log import log_outputs
from pipeline.evaluate.outputs import check_folder, is_up_to_date, write_outputs
from pipeline.evaluate.panels import draw_panels
from pipeline.evaluate.scoring import ALL, Rows, key_of, plan_tasks, run_tasks
from pipeline.evaluate.summary import print_results
from pipeline.metrics.records import ICNET, ORIGINAL, RESIZED, SISM, Results
from pipeline.metrics.score import Key
from pipeline.runtime import locks, params, report

DIGESTS = ("image_digest", "mask_digest", "void_digest")


def score_dataset(inputs: Inputs, config: EvaluateConfig) -> Results:
    """Score every method on a dataset. The results name what could not be scored.

    Raises TableError if a table is unfinished, OriginalError if a mask changed after it was indexed.
    """
    rows = [row for row in tables.read_table(inputs.index).to_pylist() if row["mask"] is not None]
    edition = tables.fingerprint([[row["group"], row["name"], *map(row.get, DIGESTS)] for row in rows])
    found = Results(inputs.dataset, edition, tables.load_manifest(inputs.samples)["size"])
    others = _find_other_maps(found, inputs, config, [key_of(row) for row in rows])
    found.images = {(name, size): {} for size in (RESIZED, ORIGINAL) for name in (ICNET, SISM, *others)}
    rows = _select_rows(found, inputs, rows)
    for scored in run_tasks(plan_tasks(rows, inputs, config.shard_size, others), f"scores on {inputs.dataset}"):
        for row, one in scored.scores.items():
            found.images[row][scored.key] = one
        for method, reason in scored.errors.items():
            found.add_absent(method, [scored.key], reason)
        if (ICNET, RESIZED) not in scored.scores and ALL not in scored.errors:
            found.add_absent(ICNET, [scored.key], "has no co-saliency map")
    return found


def _select_rows(found: Results, inputs: Inputs, rows: Rows) -> Rows:
    """The rows that have a sample. The others are absent."""
    known = {key_of(row) for row in tables.read_table(inputs.samples, ["group", "name"]).to_pylist()}
    found.add_absent(ALL, [key_of(row) for row in rows if key_of(row) not in known], "has no sample")
    return [row for row in rows if key_of(row) in known]


def _find_other_maps(
    found: Results, inputs: Inputs, config: EvaluateConfig, keys: list[Key]
) -> dict[str, dict[Key, Path]]:
    """The files of other methods' maps. The results name maps that are missing or match no image."""
    if clash := {ICNET, SISM, ALL} & set(config.methods):
        raise params.ParamsError(f"params.yaml: `evaluate.methods`: the name {min(clash)} is taken")
    files = {}
    for method, pattern in config.methods.items():
        folder = find_method_folder(pattern, inputs)
        try:
            maps = find_maps(folder, keys)
        except FolderError as error:
            found.add_absent(method, [("", "")], str(error))
            continue
        files[method] = {key: file.resolve() for key, file in maps.files.items()}
        found.add_absent(method, maps.missing, f"has no map in {folder}")
        found.add_absent(method, maps.extra, f"is a map in {folder} that matches no image with a mask")
    return files


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
    if not log_outputs(inputs, out, key):
        report.print_summary("evaluate", "MLflow has them already")


def _write_scores(inputs: Inputs, out: Path, config: EvaluateConfig, key: str) -> None:
    start = time.perf_counter()
    found = score_dataset(inputs, config)
    sums = found.scores()
    intervals = {row: one.intervals(config.confidence, config.resamples, config.seed) for row, one in sums.items()}
    write_outputs(out, key, found, sums, intervals, draw_panels(inputs, sums, config.num_panels))
    print_results(found, sums, intervals, out)
    seconds = time.perf_counter() - start
    report.print_summary("evaluate", f"{sums[ICNET, RESIZED].images} images of {inputs.dataset} in {seconds:.1f} s")


def main(index: Path, samples: Path, maps: Path, model: Path, out: Path) -> None:
    """Score the maps in MAPS and the SISMs in SAMPLES against the masks of INDEX; write to OUT and to MODEL's run."""
    root = Path(tables.load_manifest(index)["root"])
    inputs = Inputs(index.name, root, index, samples, maps, model)
    with locks.lock_output(out):
        evaluate_dataset(inputs, out, params.load_section("evaluate", EvaluateConfig))
