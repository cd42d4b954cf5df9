"""What a finished training writes: best and last model, history, and run.json, which makes them complete."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import ray.train

from icnet import checkpoint, training
from pipeline import tracking
from pipeline.runtime import files
from pipeline.train.identity import digest_file

MODEL, LAST, HISTORY, RUN = "model.safetensors", "last.safetensors", "history.csv", "run.json"


def find_finished(target: Path, fingerprint: str) -> dict[str, Any] | None:
    """The content of run.json where `target` holds the whole output of the training with this fingerprint."""
    try:
        content = json.loads((target / RUN).read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("fingerprint") != fingerprint:
        return None
    digests: dict[str, str] = content.get("files", {})
    whole = all((target / name).is_file() and digest_file(target / name) == found for name, found in digests.items())
    return content if digests and whole else None


def write_outputs(result: ray.train.Result, first: Path, target: Path, facts: dict[str, Any]) -> dict[str, float]:
    """Write the models and the history into the target; returns the best epoch's row. run.json is removed before."""
    target.mkdir(parents=True, exist_ok=True)
    (target / RUN).unlink(missing_ok=True)
    best, metrics = max(result.best_checkpoints, key=lambda pair: pair[1]["score"])
    with result.checkpoint.as_directory() as folder:
        history = pd.DataFrame(training.read_extra(Path(folder))["history"])
    row = history[history["epoch"] == metrics["epoch"]].iloc[0].dropna().to_dict()
    model, last = checkpoint.load(first), history["epoch"].max()
    for name, saved, epoch in (MODEL, best, row["epoch"]), (LAST, result.checkpoint, last):
        with saved.as_directory() as folder:
            training.load_best_weights(model, Path(folder))
        checkpoint.save(model, target / name, **facts, epoch=int(epoch))
    files.write_file(target / HISTORY, history.to_csv(index=False).encode())
    return row


def finish_outputs(target: Path, facts: dict[str, Any], best: dict[str, float]) -> None:
    """Write run.json: the run, the best epoch, and the digests of the other files."""
    digests = {name: digest_file(target / name) for name in (MODEL, LAST, HISTORY)}
    content = {**facts, "experiment": tracking.EXPERIMENT, "best": best, "files": digests}
    files.write_json(target / RUN, content)
