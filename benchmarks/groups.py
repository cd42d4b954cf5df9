"""Time and memory of the search for groups, from embeddings to labels, for growing collections.

The embeddings are drawn: categories of photographs around centers, and a tenth of strangers. Each size runs in a
process of its own, whose peak memory is measured.

    python -m benchmarks.groups 1000 10000 100000
"""

import json
import math
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import typer

from benchmarks import processes
from pipeline.group.clustering import find_groups
from pipeline.group.config import GroupConfig
from pipeline.group.embeddings import Embeddings
from pipeline.group.scores import score_grouping

CHANNELS = 1152
"""Of an embedding of the network of this repository."""

STRANGERS = 0.1
"""Share of photographs around no center."""

app = typer.Typer(add_completion=False)


def draw(count: int) -> tuple[Embeddings, list[str]]:
    """Embeddings of `count` photographs, 50 of each category, and the category of each."""
    random = np.random.default_rng(0)
    categories = max(2, count // 50)
    truth = random.integers(0, categories, count)
    centers = random.normal(size=(categories, CHANNELS)).astype(np.float32)
    strange = random.random(count) < STRANGERS
    vectors = np.empty((count, CHANNELS), np.float16)
    for start in range(0, count, 4096):
        part = slice(start, start + 4096)
        values = centers[truth[part]] * ~strange[part, None]
        values = values + random.normal(size=values.shape).astype(np.float32)
        vectors[part] = values / np.linalg.norm(values, axis=1, keepdims=True)
    pairs = zip(truth, strange, strict=True)
    names = [f"stranger {place}" if odd else str(one) for place, (one, odd) in enumerate(pairs)]
    keys = pa.table({"group": ["all"] * count, "name": [f"{place:08d}" for place in range(count)]})
    return Embeddings(keys, vectors, random.integers(-(2**63), 2**63, count)), names


def measure(count: int, file: str) -> None:
    """Find the groups of drawn embeddings, and write seconds and agreement as JSON."""
    embeddings, truth = draw(count)
    started = time.perf_counter()
    labels = find_groups(embeddings, GroupConfig()).labels
    seconds = time.perf_counter() - started
    scores = score_grouping(truth, [None if one < 0 else str(one) for one in labels])
    content = {"seconds": seconds, "groups": int(labels.max()) + 1, "f": scores.bcubed_f}
    Path(file).write_text(json.dumps(content))


@app.command()
def main(counts: Annotated[list[int], typer.Argument(help="Photographs of each collection.")]) -> None:
    """Print seconds, megabytes and the slope of both between sizes (1: in proportion)."""
    before: tuple[int, float, float] | None = None
    print(f"{'photographs':>12} {'seconds':>9} {'MB':>8} {'groups':>7} {'BCubed F':>9}  slopes of seconds, MB")
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "found.json")
            code = f"from benchmarks.groups import measure; measure({count}, {str(file)!r})"
            _, peak = processes.run_code_with_memory(code)
            found = json.loads(file.read_text())
        seconds, megabytes = found["seconds"], peak / 1e6
        slopes = ""
        if before:
            growth = math.log(count / before[0])
            ratios = seconds / before[1], megabytes / before[2]
            slopes = ", ".join(f"{math.log(ratio) / growth:.2f}" for ratio in ratios)
        row = f"{count:>12,} {seconds:>9.1f} {megabytes:>8.0f} {found['groups']:>7} {found['f']:>9.3f}"
        print(f"{row}  {slopes}", flush=True)
        before = count, seconds, megabytes


if __name__ == "__main__":
    app()
