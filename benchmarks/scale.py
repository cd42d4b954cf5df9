"""Seconds and megabytes of what the driver does with tables of many rows: plan, find large groups, resume, sum up, and
evaluate: plan the tasks, add up what they return, compute intervals and write the results.

The tables are drawn: groups of 50 images, a group of a thousandth of all images, and a few bytes in place of pictures.
So are the scores that the tasks of evaluate return.
Every measurement runs in a process of its own.

    python -m benchmarks.scale 10000 100000 1000000
"""

import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import numpy as np
import pyarrow as pa
import typer

from benchmarks import processes
from pipeline import tables
from pipeline.evaluate.config import EvaluateConfig
from pipeline.evaluate.inputs import Inputs
from pipeline.evaluate.outputs import write_outputs
from pipeline.evaluate.scoring import Task, TaskScores
from pipeline.evaluate.stage import score_dataset
from pipeline.metrics.aggregate import Scores
from pipeline.metrics.records import ICNET, SISM, WAYS
from pipeline.metrics.score import CURVES, METRICS, NUMBERS, THRESHOLDS
from pipeline.predict.config import PredictConfig
from pipeline.predict.maps import find_empty_groups
from pipeline.predict.plan import find_large_groups, plan_maps
from pipeline.tables import Shard, TableWriter, plan_shards

SHARD_SIZE = 512
CONFIG = PredictConfig(shard_size=SHARD_SIZE)

app = typer.Typer(add_completion=False)


def draw_groups(count: int) -> list[str]:
    """The group of each image, sorted."""
    crowd = count // 1000
    return sorted(["crowd"] * crowd + [f"group {number // 50:08d}" for number in range(count - crowd)])


def write_tables(count: int, folder: Path) -> None:
    """Write a samples and a maps table of `count` images."""
    groups = draw_groups(count)
    keys = pa.table({"group": groups, "name": [f"{number:08d}" for number in range(count)]})
    files = {f"{kind}_digest": "0123456789abcdef" for kind in ("image", "mask")} | {"image": "i.png", "mask": "m.png"}
    index = pa.Table.from_pylist([{**key, **files} for key in keys.to_pylist()], schema=tables.INDEX)
    tables.write_table(folder / "index", index, [], root=str(folder))
    content = {
        "samples": (tables.SAMPLES, {"image": b"image", "sism": b"sism", "mask": None, "height": 300, "width": 400}),
        "maps": (tables.MAPS, {"map": b"map", "weight": 1.0, "area": 0.2, "agreement": 0.5, "saliency": 0.1}),
    }
    for name, (schema, values) in content.items():
        values = {"digest": "0123456789abcdef", **values} if name == "samples" else values
        shards = plan_shards(keys, SHARD_SIZE) if name == "samples" else plan_maps(folder / "samples", CONFIG, "model")
        with TableWriter(folder / name, shards, schema) as writer:
            for shard in writer.missing:
                rows = [{**row, **values} for row in keys.slice(shard.start, len(shard)).to_pylist()]
                tables.write_shard(writer.address, shard, schema, rows, [])
            writer.finish(stage=name, size=224)


def plan(folder: Path) -> list[Shard]:
    """The shards of stage predict."""
    return plan_maps(folder / "samples", CONFIG, "model")


def find_large(folder: Path) -> dict[str, list[Shard]]:
    """The shards of groups that are spread over several."""
    return find_large_groups(folder / "samples", plan(folder))


def resume(folder: Path) -> int:
    """Shards that are missing of a finished table, all of which are verified."""
    with TableWriter(folder / "maps", plan(folder), tables.MAPS) as writer:
        missing = len(writer.missing)
        writer.finish(stage="maps")
    return missing


def sum_up(folder: Path) -> list[str]:
    """Groups whose SISMs are nearly empty."""
    return find_empty_groups(folder / "maps")


def evaluate(folder: Path) -> None:
    """Results of scores that are drawn, written to a folder."""
    inputs = Inputs("drawn", folder, folder / "index", folder / "samples", folder / "maps", folder / "model")
    config = EvaluateConfig()
    with mock.patch("pipeline.evaluate.stage.run_tasks", draw_scores):
        found = score_dataset(inputs, config)
    sums = found.sums
    intervals = {row: one.intervals(config.confidence, config.resamples, config.seed) for row, one in sums.items()}
    write_outputs(folder / "results", "key", found, intervals, {}, b"page")


def draw_scores(tasks: Iterator[Task], num_images: int, label: str) -> Iterator[TaskScores]:
    """Equal scores of every image, in the form that tasks return them."""
    draw = np.random.default_rng(0)
    numbers, curves = draw.random(len(NUMBERS)), draw.random((len(CURVES), THRESHOLDS))
    for task in tasks:
        groups, counts = np.unique([row["group"] for row in task.rows], return_counts=True)
        sums = Scores(tuple(groups.tolist()), counts, np.outer(counts, numbers), counts[:, None, None] * curves)
        places, metrics = list(range(len(task.rows))), draw.random((len(task.rows), len(METRICS)))
        rows = [(method, way) for way in WAYS for method in (ICNET, SISM)]
        yield TaskScores(
            task.start, dict.fromkeys(rows, sums), dict.fromkeys(rows, places), dict.fromkeys(rows, metrics), [],
            len(task.rows),
        )  # fmt: skip


STEPS: dict[str, Callable[[Path], Any]] = {
    "plan": plan,
    "plan, large groups": find_large,
    "plan, resume": resume,
    "summary": sum_up,
    "evaluate": evaluate,
}


def measure(step: str, folder: str, file: str) -> None:
    """Run a step, and write its seconds as JSON."""
    started = time.perf_counter()
    STEPS[step](Path(folder))
    Path(file).write_text(json.dumps(time.perf_counter() - started))


@app.command()
def main(counts: Annotated[list[int], typer.Argument(help="Rows of the tables.")]) -> None:
    """Print seconds, megabytes and the slopes between sizes (1: in proportion)."""
    before: dict[str, tuple[int, float, float]] = {}
    print(f"{'step':20} {'rows':>10} {'seconds':>8} {'MB':>7}  slopes of seconds, MB")
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            write_tables(count, Path(folder))
            for step in STEPS:
                file = Path(folder, "seconds.json")
                code = f"from benchmarks.scale import measure; measure({step!r}, {folder!r}, {str(file)!r})"
                _, peak = processes.run_code_with_memory(code)
                seconds, megabytes = json.loads(file.read_text()), peak / 1e6
                slopes = ""
                if step in before:
                    rows, *old = before[step]
                    ratios = [now / then for now, then in zip((seconds, megabytes), old, strict=True)]
                    slopes = ", ".join(f"{math.log(ratio) / math.log(count / rows):.2f}" for ratio in ratios)
                print(f"{step:20} {count:>10,} {seconds:>8.2f} {megabytes:>7.0f}  {slopes}", flush=True)
                before[step] = count, seconds, megabytes


if __name__ == "__main__":
    app()
