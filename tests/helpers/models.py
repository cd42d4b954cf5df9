"""Models with known scores, as stages train and evaluate leave them, and their registration."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from pipeline import tracking
from pipeline.metrics import pysod
from pipeline.metrics.aggregate import Scores
from pipeline.metrics.sums import write_sums
from pipeline.register.config import RegisterConfig
from pipeline.register.gate import Board
from pipeline.register.registry import Registry
from pipeline.register.stage import register_model
from tests.helpers import benchmark, photographs

GROUPS, EACH = 8, 3
GOOD, FAIR, POOR = 0.4, 0.7, 1.1
"""Errors of the maps of a model."""


@cache
def scores(noise: float, seed: int = 0) -> Scores:
    """The scores of maps with such errors. The images are the same each time."""
    scored = []
    for n in range(GROUPS * EACH):
        _, mask = photographs.photograph(n, 32, 40)
        scored.append(((f"g{n % GROUPS}", str(n)), pysod.score_map(benchmark.blurred(mask, seed + n, noise), mask)))
    return Scores.of(scored)


def board(noise: float, seed: int = 0, edition: str = "first") -> Board:
    """The board of such a model."""
    return {"small": (scores(noise, seed), edition)}


def train(folder: Path, weights: int, noise: float, edition: str = "first") -> tuple[Path, Path]:
    """A model folder and a results folder, and a run that belongs to both."""
    with tracking.start_run(f"model lr=0.{weights}", {"train": {"seed": weights}}) as run:
        model = benchmark.model(folder / f"model{weights}", weights, run.id)
        results = folder / f"results{weights}"
        both = {("icnet", size): scores(noise) for size in ("resized", "original")}
        write_sums(results / "small" / "groups.parquet", both, "small", edition)
        run.log_file(results / "small" / "groups.parquet", "small")
    return model, results


def register(registry: Registry, model: Path, results: Path) -> dict[str, Any]:
    """Register such a model; gives the content of the output."""
    config = RegisterConfig(name=registry.name, resamples=300)
    register_model(model, results, model / "registered.json", ["small"], "gc", config)
    return json.loads((model / "registered.json").read_text())


def train_and_register(registry: Registry, folder: Path, weights: int, noise: float, **others: str) -> dict[str, Any]:
    """Both of the above."""
    return register(registry, *train(folder, weights, noise, **others))
