"""Stage train: samples -> model + history. Ray Train over any number of workers, every batch of one group.

Killed at any moment, of a worker or as a whole, it goes on from its last checkpoint as if nothing had happened.
"""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ray.train import ScalingConfig

from icnet import checkpoint, whitening
from pipeline import tables, tracking
from pipeline.runtime import cluster, files, locks, params, report
from pipeline.train.config import ModelConfig, TrainConfig
from pipeline.train.dataset import load_examples, write_memory_map
from pipeline.train.initial import build_initial_model, fingerprint_training
from pipeline.train.job import Job, TrainError
from pipeline.train.launcher import run_training, scaling_config
from pipeline.train.outputs import write_outputs
from pipeline.train.ray_compat import SNAPSHOT
from pipeline.train.recorder import Recorder, receive_reports
from pipeline.train.reports import EPOCH_LOSS, STEP_LOSS, format_duration, format_scores
from pipeline.train.split import Split, split_groups


def train_model(samples: Path, target: Path, config: TrainConfig, network: ModelConfig) -> None:
    """Train, or go on with a training of the same params and inputs that was stopped.

    Raises TrainError where it cannot start or breaks off, SplitError where there is nothing to train on.
    """
    began = time.monotonic()
    folder = (target.parent / "work" / "train" / fingerprint_training(samples, config, network)).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    first, stored = folder / "first.safetensors", folder / "samples.arrow"
    table = write_memory_map(samples, stored)
    split = split_groups(table, config.validation, config.seed)
    if not first.is_file():
        model = build_initial_model(config, network)
        if network.init == "whitened" or (network.init == "delta" and network.weights is None):
            power = whitening.UNTRAINED_POWER if network.weights is None else whitening.PRETRAINED_POWER
            whitening.whiten_compression(model, load_examples(table, split), power)
        checkpoint.save(model, first)
    with cluster.connect():
        scaling = scaling_config(config)
        log_setup(split, scaling, resumed=(folder / SNAPSHOT).is_file())
        with _recorder(config, network, split, samples, folder) as recorder:
            with receive_reports(recorder) as queue:
                result = run_training(
                    Job(config, split, str(stored), str(first), queue, scaling.use_gpu), scaling, folder
                )
            facts = {"dataset": config.dataset, "fingerprint": folder.name, "run_id": recorder.run.id}
            best = write_outputs(result, first, target, facts)
            finish_run(recorder, best, target)
    shutil.rmtree(folder)
    report.print_summary(
        "train",
        f"{config.epochs} epochs in {format_duration(time.monotonic() - began)}; kept is"
        f" {f'the best by {config.best_metric}' if split.validation else 'the last'}, epoch {int(best['epoch'])}:"
        f" {format_scores(best)}",
        f"model and history in {target}, curves and panels in MLflow run {facts['run_id']} (`make ui`)",
    )


def log_setup(split: Split, scaling: ScalingConfig, resumed: bool) -> None:
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
    report.print_summary("train", *lines)


def finish_run(recorder: Recorder, best: dict[str, float], target: Path) -> None:
    """Log what still waits, and what is known at the end. Raises TrainError where MLflow does not answer."""
    try:
        recorder.flush(patient=False)
        recorder.run.set_tags({"best_epoch": int(best["epoch"])})
        recorder.run.log_file(target / "history.csv")
    except Exception as error:
        raise TrainError(
            f"all epochs are trained and saved, but MLflow at {recorder.run.server} does not take the rest of the run"
            f" ({error}); run again when it answers: only that is left to do"
        ) from error


@contextmanager
def _recorder(
    config: TrainConfig, network: ModelConfig, split: Split, samples: Path, folder: Path
) -> Iterator[Recorder]:
    """The recorder of the training's one MLflow run: a new one, or that of the training that was stopped."""
    file = folder / "mlflow.json"
    known = json.loads(file.read_text())["run_id"] if file.is_file() else None
    digest = tables.fingerprint(tables.load_manifest(samples)["shards"])
    chosen = {"train": config, "model": network}
    used = [("training", split.train), ("validation", split.validation)]
    opened = tracking.start_run(
        f"{config.dataset or samples.name} {folder.name[:8]}",
        params=None if known else {name: part.model_dump(exclude_defaults=True) for name, part in chosen.items()},
        tags={"fingerprint": folder.name},
        datasets=()
        if known
        else [
            tracking.DataSource(config.dataset, str(samples), digest, use, sum(map(len, groups.values())), len(groups))
            for use, groups in used
        ],
        resume=known,
        system_metrics=True,
    )
    with opened as run:
        files.write_json(file, {"run_id": run.id})
        files.write_json(folder / "params.json", {name: part.model_dump() for name, part in chosen.items()})
        run.log_file(folder / "params.json")
        yield Recorder(run, config.epochs, run.find_last_step(STEP_LOSS), run.find_last_step(EPOCH_LOSS))


def main(samples: Path, model: Path) -> None:
    """Train a model on the samples table SAMPLES into the folder MODEL."""
    config, network = params.load_section("train", TrainConfig), params.load_section("model", ModelConfig)
    with locks.lock_output(model):
        train_model(samples, model, config, network)
