"""What a finished training writes: models, history and the run's address."""

from pathlib import Path
from typing import Any

import pandas as pd
import ray.train

from icnet import checkpoint, training
from pipeline import tracking
from pipeline.runtime import files


def write_outputs(result: ray.train.Result, first: Path, target: Path, facts: dict[str, Any]) -> dict[str, float]:
    """Write best and last model, the history and the run's address into the target; returns the best epoch's row."""
    target.mkdir(parents=True, exist_ok=True)
    best, metrics = max(result.best_checkpoints, key=lambda pair: pair[1]["score"])
    with result.checkpoint.as_directory() as folder:
        history = pd.DataFrame(training.read_extra(Path(folder))["history"])
    row = history[history["epoch"] == metrics["epoch"]].iloc[0].dropna().to_dict()
    model, last = checkpoint.load(first), history["epoch"].max()
    for name, saved, epoch in ("model", best, row["epoch"]), ("last", result.checkpoint, last):
        with saved.as_directory() as folder:
            training.load_best_weights(model, Path(folder))
        checkpoint.save(model, target / f"{name}.safetensors", **facts, epoch=int(epoch))
    temporary = target / ".history.csv.part"
    history.to_csv(temporary, index=False)
    temporary.replace(target / "history.csv")
    files.write_json(target / "run.json", {**facts, "experiment": tracking.EXPERIMENT, "best": row})
    return row
