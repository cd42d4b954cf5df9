"""Stage train: samples -> model + history. Ray Train over any number of workers, every batch of one group.

Killed at any moment, of a worker or as a whole, it goes on from its last checkpoint as if nothing had happened.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import ray.train
import torch
from pydantic import Field, create_model
from ray.train import ScalingConfig

import icnet
from icnet import backbone, checkpoint, training
from icnet.config import Config
from icnet.model import ICNet
from pipeline import batches, cluster, command, params, progress, summary, tables, tracking
from pipeline.batches import Split
from pipeline.fit import SNAPSHOT, Job, TrainError, fit, machines
from pipeline.progress import Recorder

Share = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Params(params.Section):
    """How the model is trained; the defaults are the paper's (section 4.1)."""

    dataset: str = ""
    seed: int = Field(0, ge=0)
    validation: Share | list[str] = 0.15
    batch_size: int = Field(10, ge=2)
    epochs: Count = 60
    flip: float = Field(0.5, ge=0, le=1)
    crop: Share = 0.0
    colour: Share = 0.0
    disturb: Share = 0.0

    optimiser: Literal["adam", "adamw"] = "adam"
    rate: Rate = 1e-5
    backbone_rate: Rate | None = None
    freeze: list[str] = Field([])
    weight_decay: float = Field(1e-4, ge=0)
    schedule: Literal["constant", "cosine", "one_cycle"] = "constant"
    warmup: Share = 0.0
    clip: Rate | None = None
    accumulate: Count = 1
    ema: Share | None = None
    batch_norm: Literal["per_rank", "sync"] = "per_rank"
    best: Literal["max_f", "s", "mae", "loss"] = "max_f"

    precision: Literal["float32", "bf16", "fp16"] = "float32"
    channels_last: bool = True
    compile: bool = False
    workers: Count | None = None
    gpus: bool | None = None

    loaders: Count | None = None
    validate_every: Count = 1
    panels_every: Count = 10
    checkpoint_every: Count = 1
    checkpoint_steps: Count | None = None
    retries: int = Field(3, ge=0)


MACHINERY = {"loaders", "panels_every", "checkpoint_every", "checkpoint_steps", "retries"}
"""Params that cannot change the model: a training that was stopped goes on when they change."""

Network = create_model(
    "Network",
    __base__=params.Section,
    __doc__="The network to train, and where its VGG-16 begins: null, torchvision, or a file of its weights.",
    weights=(str | None, None),
    **{field.name: (field.type, field.default) for field in fields(Config)},
)


def train(samples: Path, target: Path, knobs: Params, network: Network) -> None:
    """Train, or go on with a training of the same params and inputs that was stopped.

    Raises TrainError where it cannot start or breaks off, SplitError where there is nothing to train on.
    """
    began = time.monotonic()
    folder = (target.parent / "work" / "train" / fingerprint(samples, knobs, network)).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    first, stored = folder / "first.safetensors", folder / "samples.arrow"
    table = batches.memory_map(samples, stored)
    split = batches.split(table, knobs.validation, knobs.seed)
    if not first.is_file():
        model = begin(knobs, network)
        if network.init == "whitened" or (network.init == "delta" and network.weights is None):
            power = backbone.UNTRAINED if network.weights is None else backbone.PRETRAINED
            backbone.whiten(model, batches.examples(table, split), power)
        checkpoint.save(model, first)
    with cluster.connect():
        scaling = machines(knobs)
        announce(split, scaling, resumed=(folder / SNAPSHOT).is_file())
        with _recorder(knobs, network, split, samples, folder) as recorder:
            with progress.following(recorder) as queue:
                result = fit(Job(knobs, split, str(stored), str(first), queue, scaling.use_gpu), scaling, folder)
            facts = {"dataset": knobs.dataset, "fingerprint": folder.name, "run_id": recorder.run.id}
            best = write(result, first, target, facts)
            conclude(recorder, best, target)
    shutil.rmtree(folder)
    summary.tell(
        "train",
        f"{knobs.epochs} epochs in {progress.duration(time.monotonic() - began)}; kept is"
        f" {f'the best by {knobs.best}' if split.validation else 'the last'}, epoch {int(best['epoch'])}:"
        f" {progress.scores(best)}",
        f"model and history in {target}, curves and panels in MLflow run {facts['run_id']} (`make ui`)",
    )


def announce(split: Split, scaling: ScalingConfig, resumed: bool) -> None:
    """Say what is trained on, what is left out and why, and on how many machines."""
    count = {side: sum(map(len, groups.values())) for side, groups in vars(split).items() if isinstance(groups, dict)}
    workers = f"{scaling.num_workers} {'GPU' if scaling.use_gpu else 'CPU'} worker{'s' * (scaling.num_workers > 1)}"
    lines = [
        f"{count['train']} images of {len(split.train)} groups on {workers}; held out for validation:"
        f" {count['validation']} images of {len(split.validation)} groups"
    ]
    if split.copies:
        lines.append(f"{len(split.copies)} images left out: byte for byte in validation groups too")
    if split.unmasked:
        lines.append(f"{len(split.unmasked)} images left out: they have no mask")
    if alone := [group for group, rows in split.train.items() if len(rows) == 1]:
        lines.append(f"groups of one image skipped, as batch norm needs two ({len(alone)}): {', '.join(alone[:5])}")
    if resumed:
        lines.append("goes on from the last checkpoint of the same training")
    summary.tell("train", *lines)


def fingerprint(samples: Path, knobs: Params, network: Network) -> str:
    """A name that changes when the model may: with params, samples, first weights and the network's code."""
    weights = network.weights
    if weights not in (None, "torchvision"):
        if not Path(weights).is_file():
            raise TrainError(f"model.weights: there is no file {weights}")
        weights = hashlib.sha256(Path(weights).read_bytes()).hexdigest()
    code = [*sorted(Path(icnet.__file__).parent.glob("*.py")), Path(batches.__file__)]
    return tables.fingerprint(
        knobs.model_dump(exclude=MACHINERY),
        network.model_dump(exclude={"weights"}),
        weights,
        tables.receipt(samples)["shards"],
        [hashlib.sha256(file.read_bytes()).hexdigest() for file in code],
    )


def begin(knobs: Params, network: Network) -> ICNet:
    """The network before its first step, from the seed and the weights that are asked for."""
    torch.manual_seed(knobs.seed)
    try:
        model = ICNet(Config(**network.model_dump(exclude={"weights"})))
        if network.weights is not None:
            backbone.load_imagenet(model, network.weights)
    except ValueError as error:
        raise TrainError(f"model: {error}") from error
    except FileNotFoundError:
        raise TrainError(f"model.weights: there is no file {network.weights}") from None
    except OSError as error:
        raise TrainError(
            f"model.weights: torchvision's VGG-16 cannot be downloaded ({error}); without a network, give the path of a"
            " file that holds it, or null to train from scratch"
        ) from error
    for name in knobs.freeze:
        try:
            model.part(name)
        except KeyError:
            there = ", ".join([*dict(model.named_children()), *model.backbone.stages()])
            raise TrainError(f"train.freeze: the network has no part {name} (there: {there})") from None
    return model


def write(result: ray.train.Result, first: Path, target: Path, facts: dict[str, Any]) -> dict[str, float]:
    """Write best and last model, the history and the run's address into the target; returns the best epoch's row."""
    target.mkdir(parents=True, exist_ok=True)
    best, metrics = max(result.best_checkpoints, key=lambda pair: pair[1]["score"])
    with result.checkpoint.as_directory() as folder:
        history = pd.DataFrame(training.extra(Path(folder))["history"])
    row = history[history["epoch"] == metrics["epoch"]].iloc[0].dropna().to_dict()
    model, last = checkpoint.load(first), history["epoch"].max()
    for name, saved, epoch in ("model", best, row["epoch"]), ("last", result.checkpoint, last):
        with saved.as_directory() as folder:
            training.load_best(model, Path(folder))
        checkpoint.save(model, target / f"{name}.safetensors", **facts, epoch=int(epoch))
    temporary = target / ".history.csv.part"
    history.to_csv(temporary, index=False)
    temporary.replace(target / "history.csv")
    tables.write_json(target / "run.json", {**facts, "experiment": tracking.EXPERIMENT, "best": row})
    return row


def conclude(recorder: Recorder, best: dict[str, float], target: Path) -> None:
    """Log what still waits, and what is known at the end. Raises TrainError where MLflow does not answer."""
    try:
        recorder.flush(patient=False)
        recorder.run.tags({"best_epoch": int(best["epoch"])})
        recorder.run.file(target / "history.csv")
    except Exception as error:
        raise TrainError(
            f"all epochs are trained and saved, but MLflow at {recorder.run.server} does not take the rest of the run"
            f" ({error}); run again when it answers: only that is left to do"
        ) from error


@contextmanager
def _recorder(knobs: Params, network: Network, split: Split, samples: Path, folder: Path) -> Iterator[Recorder]:
    """The recorder of the training's one MLflow run: a new one, or that of the training that was stopped."""
    file = folder / "mlflow.json"
    known = json.loads(file.read_text())["run_id"] if file.is_file() else None
    digest = tables.fingerprint(tables.receipt(samples)["shards"])
    chosen = {"train": knobs, "model": network}
    used = [("training", split.train), ("validation", split.validation)]
    opened = tracking.start(
        f"{knobs.dataset or samples.name} {folder.name[:8]}",
        params=None if known else {name: part.model_dump(exclude_defaults=True) for name, part in chosen.items()},
        tags={"fingerprint": folder.name},
        datasets=()
        if known
        else [
            tracking.Data(knobs.dataset, str(samples), digest, use, sum(map(len, groups.values())), len(groups))
            for use, groups in used
        ],
        resume=known,
        system_metrics=True,
    )
    with opened as run:
        tables.write_json(file, {"run_id": run.id})
        tables.write_json(folder / "params.json", {name: part.model_dump() for name, part in chosen.items()})
        run.file(folder / "params.json")
        yield Recorder(run, knobs.epochs, run.last(progress.STEP_LOSS), run.last(progress.EPOCH_LOSS))


def main(samples: Path, model: Path) -> None:
    """Train a model on the samples table SAMPLES into the folder MODEL."""
    train(samples, model, params.load("train", Params), params.load("model", Network))


if __name__ == "__main__":
    command.run("pipeline.train")
