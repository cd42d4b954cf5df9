"""Stage evaluate: co-saliency maps + masks -> metrics, curves and sheets of ICNet, its SISMs and others' maps."""

import shutil
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from pipeline import tables
from pipeline.evaluate.config import EvaluateConfig
from pipeline.evaluate.folders import FolderError, find_maps, name_keys
from pipeline.evaluate.inputs import Inputs
from pipeline.evaluate.mlflow_log import log_results
from pipeline.evaluate.panels import PanelSource
from pipeline.evaluate.scoring import key_of, plan_tasks, run_tasks
from pipeline.metrics import records
from pipeline.metrics.aggregate import Scores
from pipeline.metrics.records import ICNET, ORIGINAL, RESIZED, SISM, Results, Row
from pipeline.metrics.score import Key
from pipeline.runtime import locks, params, report

DIGESTS = ("image_digest", "mask_digest", "void_digest")


def score_dataset(inputs: Inputs, config: EvaluateConfig) -> Results:
    """Score every method on a dataset; what could not be scored is named in the results."""
    rows = [row for row in tables.read_table(inputs.index).to_pylist() if row["mask"] is not None]
    edition = tables.fingerprint([[row["group"], row["name"], *map(row.get, DIGESTS)] for row in rows])
    found = Results(inputs.dataset, edition, tables.load_manifest(inputs.samples)["size"])
    known = {key_of(row) for row in tables.read_table(inputs.samples, ["group", "name"]).to_pylist()}
    others = _find_other_maps(found, config.methods, [key_of(row) for row in rows])
    found.images = {(name, size): {} for size in (RESIZED, ORIGINAL) for name in (ICNET, SISM, *others)}
    found.leave_out("all", [key_of(row) for row in rows if key_of(row) not in known], "has no sample")
    rows = [row for row in rows if key_of(row) in known]
    tasks = plan_tasks(rows, inputs.root, inputs.samples, inputs.maps, config.shard_size, others)
    for key, scored in run_tasks(tasks, f"scores on {inputs.dataset}"):
        if isinstance(scored, str):
            found.leave_out("all", [key], scored)
            continue
        for row, one in scored.items():
            found.images[row][key] = one
        if (ICNET, RESIZED) not in scored:
            found.leave_out(ICNET, [key], "has no co-saliency map")
    return found


def _find_other_maps(found: Results, methods: dict[str, str], keys: list[Key]) -> dict[str, dict[Key, Path]]:
    """The files of other methods' maps; maps that are missing or fit no image are named in the results."""
    if clash := {ICNET, SISM} & set(methods):
        raise params.ParamsError(f"params.yaml: `evaluate.methods`: the name {min(clash)} is taken")
    files = {}
    for method, pattern in methods.items():
        folder = Path(pattern.replace("{dataset}", found.dataset))
        try:
            there = find_maps(folder, keys)
        except FolderError as error:
            found.leave_out(method, [("", "")], str(error))
            continue
        files[method] = {key: file.resolve() for key, file in there.files.items()}
        found.leave_out(method, there.missing, f"has no map in {folder}")
        found.leave_out(method, there.extra, f"is a map in {folder} that fits no labelled image")
    return files


def draw_sheets(inputs: Inputs, sums: dict[Row, Scores], count: int) -> dict[str, np.ndarray]:
    """Sheets by name: an overview, the worst and the best groups, or the first ones where nothing was scored."""
    index = tables.read_table(inputs.index, ["group", "name", "void"]).to_pylist()
    voids = {key_of(row): inputs.root / row["void"] for row in index if row["void"]}
    source = PanelSource(inputs.samples, inputs.maps, inputs.model / "model.safetensors", voids)
    if not (groups := source.groups()):
        return {}
    drawn = {"overview": source.overview(groups, f"{inputs.dataset}: one image of each group")}
    values = sums[ICNET, RESIZED].by_group()
    for name, group in _choose_groups(values, groups, count).items():
        value, title = values.get(group), f"{inputs.dataset} / {group} ({name.replace('-', ' ')})"
        if value:
            title += f": max F {value['max_f']:.3f}, S {value['s']:.3f}, MAE {value['mae']:.3f}"
        drawn[name] = source.group(group, title)
    return drawn


def _choose_groups(values: dict[str, dict[str, float]], groups: list[str], count: int) -> dict[str, str]:
    if not values:
        return {f"group-{n}": group for n, group in enumerate(groups[:count], start=1)}
    order = sorted(values, key=lambda group: (values[group]["max_f"], group))
    count = min(count, (len(order) + 1) // 2)
    worst = {f"worst-{n}": group for n, group in enumerate(order[:count], start=1)}
    return worst | {f"best-{n}": group for n, group in enumerate(order[::-1][:count], start=1) if len(order) > 1}


def print_results(
    inputs: Inputs, found: Results, sums: dict[Row, Scores], low_high: tuple[float, float], out: Path
) -> None:
    """Say what was scored, and what was not."""
    icnet, sism = (sums[method, RESIZED].overall() for method in (ICNET, SISM))
    if icnet:
        print(records.format_summary(found, sums))
        gain = icnet["max_f"] - sism["max_f"]
        low, high = low_high
        lines = [f"max F {icnet['max_f']:.3f} ({low:.3f} to {high:.3f} over groups), {gain:+.3f} against the SISMs"]
    else:
        lines = [f"{inputs.dataset} was predicted, not scored: no image has a mask"]
    reasons = dict.fromkeys((row["method"], row["reason"]) for row in found.absent)
    for method, reason in reasons:
        left = [row for row in found.absent if (row["method"], row["reason"]) == (method, reason)]
        names = name_keys([(row["group"], row["name"]) for row in left if row["group"]])
        lines.append(f"{method}: {names} {reason}" if names else f"{method} was not scored: {reason}")
    report.print_summary("evaluate", *lines, f"sheets of groups in {out / 'panels'}, tables in {out}")


def evaluate_dataset(inputs: Inputs, out: Path, config: EvaluateConfig) -> None:
    """Score one dataset into the folder `out`. Raises TableError where a table is unfinished."""
    began = time.perf_counter()
    found = score_dataset(inputs, config)
    sums = found.scores()
    intervals = {row: one.intervals(config.confidence, config.resamples, config.seed) for row, one in sums.items()}
    shutil.rmtree(out, ignore_errors=True)
    drawn = draw_sheets(inputs, sums, config.num_panels)
    found.write(out, sums, intervals, drawn)
    log_results(inputs, found, sums, drawn, out)
    print_results(inputs, found, sums, intervals[ICNET, RESIZED].get("max_f", (0, 0)), out)
    print(f"evaluate: {sums[ICNET, RESIZED].images} images of {inputs.dataset} in {time.perf_counter() - began:.1f} s")


def main(
    index: Path,
    samples: Path,
    maps: Path,
    model: Path,
    out: Path,
    dataset: Annotated[str, typer.Option()] = "",
) -> None:
    """Score MAPS and SAMPLES' SISMs against the masks that INDEX lists, into OUT and the run of the MODEL folder."""
    root = Path(tables.load_manifest(index)["root"])
    inputs = Inputs(dataset or index.name, root, index, samples, maps, model)
    with locks.lock_output(out):
        evaluate_dataset(inputs, out, params.load_section("evaluate", EvaluateConfig))
