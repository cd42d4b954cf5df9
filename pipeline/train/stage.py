"""Stage train: samples -> model and history. Ray Train over any number of workers; every batch is from one group.

Killed at any moment, a worker or the whole stage, the training continues from its last checkpoint.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ray.train import ScalingConfig

from icnet import checkpoint
from pipeline import tables
from pipeline.runtime import cluster, locks, params, report
from pipeline.train.config import ModelConfig, TrainConfig
from pipeline.train.dataset import BatchLoader, load_examples, open_memory_map, write_memory_map
from pipeline.train.feature_files import StoredFeatures
from pipeline.train.features import compute_missing_features
from pipeline.train.identity import identify_training
from pipeline.train.initial import build_initial_model
from pipeline.train.job import Job, TrainError
from pipeline.train.launcher import run_training, scaling_config
from pipeline.train.mlflow_run import finish_run, open_recorder
from pipeline.train.outputs import find_finished, finish_outputs, write_outputs
from pipeline.train.ray_compat import SNAPSHOT, repair_snapshot
from pipeline.train.recorder import Recorder, receive_reports
from pipeline.train.reports import format_duration, format_scores
from pipeline.train.split import Split, split_groups
from pipeline.train.workspace import Workspace

INITIAL_FILE, LOSSES_FILE, FEATURES_FOLDER = "initial.safetensors", "step_losses.bin", "features"


def train_model(samples: Mapping[str, Path], target: Path, config: TrainConfig, network: ModelConfig) -> None:
    """Train on samples tables, by dataset, into `target`.

    An interrupted training continues; where `target` has its model already, the stage returns at once. Raises
    TrainError where it cannot start or stops before its end, SplitError where there is nothing to train on.
    """
    began = time.monotonic()
    check_sizes(samples, network.size)
    identity = identify_training(samples, config, network)
    if (finished := find_finished(target, identity.fingerprint)) is not None:
        known = f"{target} has the model of these options, samples and code already: nothing to do"
        report.print_summary("train", known, describe_result(config, finished["best"]))
        return
    workspace = Workspace(target.parent / "work" / "train", identity)
    with workspace.open():
        split = split_groups(write_memory_map(samples, workspace.memory_map), config.validation, config.seed)
        if (config.pasted_groups or config.distractors) and len(split.train) < 2:
            raise TrainError("train.pasted_groups and train.distractors need two groups to train on; there is one")
        write_initial_model(workspace, config, network, split)
        if config.store_features:
            write_features(workspace, config, split)
        repair_snapshot(workspace.folder)
        with cluster.connect():
            scaling = scaling_config(config)
            print_setup(split, scaling, workspace)
            with open_recorder(config, network, split, samples, identity, workspace.folder) as recorder:
                facts = {"dataset": config.dataset, "fingerprint": identity.fingerprint, "run_id": recorder.run.id}
                best = run_workers(config, split, scaling, workspace, recorder, target, facts)
        finish_outputs(target, facts, best)
        workspace.remove()
    report.print_summary(
        "train",
        f"{config.epochs} epochs in {format_duration(time.monotonic() - began)}; {describe_result(config, best)}",
        f"model and history in {target}, curves and panels in MLflow run {facts['run_id']} (`make ui`)",
    )


def write_initial_model(workspace: Workspace, config: TrainConfig, network: ModelConfig, split: Split) -> None:
    """Write the first weights, unless an interrupted training has them."""
    file = workspace.folder / INITIAL_FILE
    if file.is_file():
        return
    model = build_initial_model(config, network, lambda: load_examples(open_memory_map(workspace.memory_map), split))
    checkpoint.save(model, file)


def write_features(workspace: Workspace, config: TrainConfig, split: Split) -> None:
    """Compute the features of the training images, unless an interrupted training has them."""
    stored = StoredFeatures(workspace.folder / FEATURES_FOLDER, split.train, 1 + config.zooms)
    loader = BatchLoader(open_memory_map(workspace.memory_map), config.seed)
    gpu = config.use_gpu is not False and torch.cuda.is_available()
    model = checkpoint.load(workspace.folder / INITIAL_FILE)
    compute_missing_features(stored, model, loader, torch.device("cuda" if gpu else "cpu"), config.precision)


def check_sizes(samples: Mapping[str, Path], size: int) -> None:
    """Raise TrainError where samples are not of the network's size, in px."""
    for name, table in samples.items():
        found = tables.load_manifest(table).get("size", size)
        if found != size:
            raise TrainError(
                f"the samples of {name} are {found} px, but model.size is {size}: run `dvc repro sism@{name}`"
            )


def run_workers(
    config: TrainConfig,
    split: Split,
    scaling: ScalingConfig,
    workspace: Workspace,
    recorder: Recorder,
    target: Path,
    facts: dict[str, Any],
) -> dict[str, float]:
    """Train on Ray, write the outputs and finish the run; returns the best epoch's row of the history.

    Raises TrainError where the training diverges, the workers fail too often, or MLflow does not answer at the end.
    """
    folder = workspace.folder
    features = str(folder / FEATURES_FOLDER) if config.store_features else None
    with receive_reports(recorder) as queue:
        job = Job(
            config,
            split,
            str(workspace.memory_map),
            str(folder / INITIAL_FILE),
            str(folder / LOSSES_FILE),
            queue,
            scaling.use_gpu,
            features,
        )
        result = run_training(job, scaling, folder)
    if recorder.divergence is not None:
        raise TrainError(f"training stopped: {recorder.divergence}")
    best = write_outputs(result, folder / INITIAL_FILE, target, facts)
    finish_run(recorder, best, target)
    return best


def describe_result(config: TrainConfig, best: dict[str, float]) -> str:
    """Which epoch is kept, and its scores."""
    rule = "the last" if "val_loss" not in best else f"the best by {config.best_metric}"
    return f"kept is {rule}, epoch {int(best['epoch'])}: {format_scores(best)}"


def print_setup(split: Split, scaling: ScalingConfig, workspace: Workspace) -> None:
    """Print what is trained on, what is left out and why, the workers, and whether the training continues."""
    count = {side: sum(map(len, groups.values())) for side, groups in vars(split).items() if isinstance(groups, dict)}
    workers = f"{scaling.num_workers} {'GPU' if scaling.use_gpu else 'CPU'} worker{'s' * (scaling.num_workers > 1)}"
    lines = [
        f"{count['train']} images of {len(split.train)} groups on {workers}; held out for validation:"
        f" {count['validation']} images of {len(split.validation)} groups"
    ]
    if split.copies:
        lines.append(f"{len(split.copies)} images left out: a validation group has the same photograph")
    if split.unmasked:
        lines.append(f"{len(split.unmasked)} images left out: they have no mask")
    if alone := [group for group, rows in split.train.items() if len(rows) == 1]:
        lines.append(f"groups of one image skipped, as batch norm needs two ({len(alone)}): {', '.join(alone[:5])}")
    if (workspace.folder / SNAPSHOT).is_file():
        lines.append("continues from the last checkpoint of the same training")
    elif workspace.has_other_code():
        lines.append(
            "begins anew: the unfinished training in the work folder was made by other code and cannot continue"
        )
    report.print_summary("train", *lines)


def main(samples: Path, model: Path) -> None:
    """Train a model on tables in the folder SAMPLES, those that train.dataset names, into the folder MODEL."""
    config, network = params.load_section("train", TrainConfig), params.load_section("model", ModelConfig)
    with locks.lock_output(model):
        train_model({name: samples / name for name in config.datasets}, model, config, network)
