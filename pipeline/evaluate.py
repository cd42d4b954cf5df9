"""Stage evaluate: co-saliency maps + masks -> metrics, curves and sheets of ICNet, its SISMs and others' maps."""

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from pydantic import Field

from pipeline import command, folders, params, results, scoring, summary, tables, tracking
from pipeline.panels import Source
from pipeline.results import ICNET, ORIGINAL, RESIZED, SISM, Results, Row
from pipeline.scores import Key, Scores

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class Params(params.Section):
    """How maps are scored. `shard`: images a task; `resamples`, `confidence`, `seed`: intervals by bootstrap over
    groups; `panels`: how many of the worst and of the best groups are drawn; `methods`: folders of others' maps by
    name, `{dataset}` in a path standing for the dataset's name."""

    shard: int = Field(64, ge=1)
    resamples: int = Field(1000, ge=1)
    confidence: float = Field(0.95, gt=0, lt=1)
    seed: int = 0
    panels: int = Field(2, ge=0)
    methods: dict[Name, str] = Field({})


@dataclass(frozen=True)
class Inputs:
    """What the evaluation of a dataset reads."""

    dataset: str
    root: Path
    index: Path
    samples: Path
    maps: Path
    model: Path


def gather(inputs: Inputs, knobs: Params) -> Results:
    """Score every method on a dataset; what could not be scored is named in the results."""
    rows = [row for row in tables.read(inputs.index).to_pylist() if row["mask"] is not None]
    edition = tables.fingerprint([(row["group"], row["name"], row["digest"]) for row in rows])
    found = Results(inputs.dataset, edition, tables.receipt(inputs.samples)["size"])
    known = {scoring.key(row) for row in tables.read(inputs.samples, ["group", "name"]).to_pylist()}
    others = _others(found, knobs.methods, [scoring.key(row) for row in rows])
    found.images = {(name, size): {} for size in (RESIZED, ORIGINAL) for name in (ICNET, SISM, *others)}
    found.leave_out("all", [scoring.key(row) for row in rows if scoring.key(row) not in known], "has no sample")
    rows = [row for row in rows if scoring.key(row) in known]
    tasks = scoring.plan(rows, inputs.root, inputs.samples, inputs.maps, knobs.shard, others)
    for key, scored in scoring.run(tasks, f"scores on {inputs.dataset}"):
        if isinstance(scored, str):
            found.leave_out("all", [key], scored)
            continue
        for row, one in scored.items():
            found.images[row][key] = one
        if (ICNET, RESIZED) not in scored:
            found.leave_out(ICNET, [key], "has no co-saliency map")
    return found


def _others(found: Results, methods: dict[str, str], keys: list[Key]) -> dict[str, dict[Key, Path]]:
    """The files of other methods' maps; maps that are missing or fit no image are named in the results."""
    if clash := {ICNET, SISM} & set(methods):
        raise params.ParamsError(f"params.yaml: `evaluate.methods`: the name {min(clash)} is taken")
    files = {}
    for method, pattern in methods.items():
        folder = Path(pattern.replace("{dataset}", found.dataset))
        try:
            there = folders.find(folder, keys)
        except folders.FolderError as error:
            found.leave_out(method, [("", "")], str(error))
            continue
        files[method] = {key: file.resolve() for key, file in there.files.items()}
        found.leave_out(method, there.missing, f"has no map in {folder}")
        found.leave_out(method, there.extra, f"is a map in {folder} that fits no labelled image")
    return files


def sheets(inputs: Inputs, sums: dict[Row, Scores], count: int) -> dict[str, np.ndarray]:
    """Sheets by name: an overview, the worst and the best groups, or the first ones where nothing was scored."""
    index = tables.read(inputs.index, ["group", "name", "void"]).to_pylist()
    voids = {scoring.key(row): inputs.root / row["void"] for row in index if row["void"]}
    source = Source(inputs.samples, inputs.maps, inputs.model / "model.safetensors", voids)
    if not (groups := source.groups()):
        return {}
    drawn = {"overview": source.overview(groups, f"{inputs.dataset}: one image of each group")}
    values = sums[ICNET, RESIZED].by_group()
    for name, group in _chosen(values, groups, count).items():
        value, title = values.get(group), f"{inputs.dataset} / {group} ({name.replace('-', ' ')})"
        if value:
            title += f": max F {value['max_f']:.3f}, S {value['s']:.3f}, MAE {value['mae']:.3f}"
        drawn[name] = source.group(group, title)
    return drawn


def _chosen(values: dict[str, dict[str, float]], groups: list[str], count: int) -> dict[str, str]:
    if not values:
        return {f"group-{n}": group for n, group in enumerate(groups[:count], start=1)}
    order = sorted(values, key=lambda group: (values[group]["max_f"], group))
    count = min(count, (len(order) + 1) // 2)
    worst = {f"worst-{n}": group for n, group in enumerate(order[:count], start=1)}
    return worst | {f"best-{n}": group for n, group in enumerate(order[::-1][:count], start=1) if len(order) > 1}


def log(inputs: Inputs, found: Results, sums: dict[Row, Scores], drawn: dict[str, np.ndarray], out: Path) -> None:
    """Add everything to the run of the training, and a row in the experiment for each other method."""
    name, run = inputs.dataset, _run(inputs)
    first = sums[ICNET, RESIZED]
    read = tracking.Data(name, str(inputs.root), found.edition, "benchmark", first.images, len(first.groups))
    run.data([read])
    for place, picture in drawn.items():
        run.image(picture, f"{name}/{place}")
    run.file(out, name)
    if not first.images:
        return
    run.metrics(_metrics(name, sums, ICNET) | {f"{name}/macro/{key}": value for key, value in first.macro().items()})
    run.metrics({f"{name}/sism/{key}": value for key, value in sums[SISM, RESIZED].overall().items()})
    run.curves({f"{name}/curve/{curve}": first.curve(curve) for curve in ("f", "e", "precision", "recall")})
    run.table(results.by_group({row: one for row, one in sums.items() if row[1] == RESIZED}), f"{name}/groups.json")
    sism = f"SISMs {tables.receipt(inputs.samples)['method']}"
    for method in dict.fromkeys(method for method, _ in sums if method != ICNET):
        row = tracking.method(sism if method == SISM else method)
        row.data([read])
        row.metrics(_metrics(name, sums, method))


def _run(inputs: Inputs) -> tracking.Run:
    """The run of the training; maps of cut groups are a method of their own, not what the model is worth."""
    trained, cut = run_of(inputs.model), tables.receipt(inputs.maps).get("cut")
    return tracking.method(f"ICNet {trained}, groups cut by {cut}") if cut else tracking.reopen(trained)


def _metrics(dataset: str, sums: dict[Row, Scores], method: str) -> dict[str, float]:
    values = {f"{dataset}/{name}": value for name, value in sums[method, RESIZED].overall().items()}
    return values | {f"{dataset}/original/{name}": value for name, value in sums[method, ORIGINAL].overall().items()}


def run_of(model: Path) -> str | None:
    """The id of the run that trained the model in a folder, where it says so."""
    file = model / "run.json"
    return json.loads(file.read_text()).get("run_id") if file.is_file() else None


def tell(inputs: Inputs, found: Results, sums: dict[Row, Scores], low_high: tuple[float, float], out: Path) -> None:
    """Say what was scored, and what was not."""
    icnet, sism = (sums[method, RESIZED].overall() for method in (ICNET, SISM))
    if icnet:
        print(results.summary(found, sums))
        gain = icnet["max_f"] - sism["max_f"]
        low, high = low_high
        lines = [f"max F {icnet['max_f']:.3f} ({low:.3f} to {high:.3f} over groups), {gain:+.3f} against the SISMs"]
    else:
        lines = [f"{inputs.dataset} was predicted, not scored: no image has a mask"]
    reasons = dict.fromkeys((row["method"], row["reason"]) for row in found.absent)
    for method, reason in reasons:
        left = [row for row in found.absent if (row["method"], row["reason"]) == (method, reason)]
        names = folders.named([(row["group"], row["name"]) for row in left if row["group"]])
        lines.append(f"{method}: {names} {reason}" if names else f"{method} was not scored: {reason}")
    summary.tell("evaluate", *lines, f"sheets of groups in {out / 'panels'}, tables in {out}")


def evaluate(inputs: Inputs, out: Path, knobs: Params) -> None:
    """Score one dataset into the folder `out`. Raises TableError where a table is unfinished."""
    began = time.perf_counter()
    found = gather(inputs, knobs)
    sums = found.scores()
    intervals = {row: one.intervals(knobs.confidence, knobs.resamples, knobs.seed) for row, one in sums.items()}
    shutil.rmtree(out, ignore_errors=True)
    drawn = sheets(inputs, sums, knobs.panels)
    found.write(out, sums, intervals, drawn)
    log(inputs, found, sums, drawn, out)
    tell(inputs, found, sums, intervals[ICNET, RESIZED].get("max_f", (0, 0)), out)
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
    root = Path(tables.receipt(index)["root"])
    inputs = Inputs(dataset or index.name, root, index, samples, maps, model)
    evaluate(inputs, out, params.load("evaluate", Params))


if __name__ == "__main__":
    command.run("pipeline.evaluate")
