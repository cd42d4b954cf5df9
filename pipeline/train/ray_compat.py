"""Everything that uses private parts of Ray Train."""

import json
import os
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.torch.config import _TorchBackend

from icnet import training
from pipeline.runtime import cluster, files

SNAPSHOT = "checkpoint_manager_snapshot.json"
"""Ray Train's list of checkpoints. A training continues where its folder has one."""

EMPTY_LISTS = (
    "pending_training_results",
    "pending_validation_specs",
    "validated_checkpoint_dir_names",
    "timed_out_validation_checkpoint_dir_names",
    "failed_validation_checkpoint_dir_names",
)


class Trainer(TorchTrainer):
    """Ray's trainer without the actor that watches placement groups through the dashboard, which a local Ray lacks."""

    def _create_default_callbacks(self) -> list[Any]:
        watched = bool(os.environ.get("RAY_ADDRESS"))
        callbacks = super()._create_default_callbacks()
        return [one for one in callbacks if watched or type(one).__name__ != "PlacementGroupCleanerCallback"]


class _Backend(_TorchBackend):
    """A process group over the addresses by which Ray knows the machines. gloo resolves host names instead, which is
    127.0.1.1 on many Debian systems."""

    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        worker_group.execute(cluster.set_network_interface)
        super().on_start(worker_group, backend_config)


class GlooConfig(TorchConfig):
    """Ray's process group on a cluster, by `_Backend`."""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        return _Backend


def repair_snapshot(folder: Path) -> None:
    """Write a damaged list of checkpoints anew from the whole checkpoints in the folder.

    Ray writes the list in place and refuses a damaged one, which a kill may leave. Without a whole checkpoint the list
    is removed, and the training begins anew.
    """
    snapshot = folder / SNAPSHOT
    if not snapshot.is_file() or _is_json(snapshot):
        return
    entries = [
        {"version": 0, "checkpoint_dir_name": name, "metrics": metrics} for name, metrics in _find_whole(folder).items()
    ]
    if entries:
        files.write_json(snapshot, _make_snapshot(entries))
    else:
        snapshot.unlink()


def _is_json(file: Path) -> bool:
    try:
        json.loads(file.read_text())
    except ValueError:
        return False
    return True


def _find_whole(folder: Path) -> dict[str, dict[str, Any]]:
    """The metrics of whole checkpoints by folder name, oldest first."""
    whole = {}
    for place in sorted(folder.glob("checkpoint_*/")):
        try:
            whole[place.name] = training.read_extra(place)["metrics"]
        except training.DamagedCheckpointError:
            continue
    return whole


def _make_snapshot(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Ray's list of checkpoints, given oldest first."""
    order = sorted(range(len(entries)), key=lambda number: entries[number]["metrics"]["score"])
    return {
        "ray_version": ray.__version__,
        "checkpoint_results": [entries[number] for number in order],
        "checkpoint_report_indices": order,
        "latest_checkpoint_result": entries[-1],
        "current_report_index": len(entries),
        **{name: [] for name in EMPTY_LISTS},
    }
