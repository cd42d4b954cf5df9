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
"""Ray Train's list of checkpoints; where it is, a training of that name goes on."""


class Trainer(TorchTrainer):
    """Ray's trainer without the actor that watches placement groups through the dashboard, which a local Ray lacks."""

    def _create_default_callbacks(self) -> list[Any]:
        watched = bool(os.environ.get("RAY_ADDRESS"))
        callbacks = super()._create_default_callbacks()
        return [one for one in callbacks if watched or type(one).__name__ != "PlacementGroupCleanerCallback"]


class _Backend(_TorchBackend):
    """Ray's process group over the addresses by which Ray knows the machines: gloo would take what their names mean,
    which is 127.0.1.1 on many a Debian."""

    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        worker_group.execute(cluster.set_gloo_interface)
        super().on_start(worker_group, backend_config)


class GlooConfig(TorchConfig):
    """A process group of ours."""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        return _Backend


def repair_snapshot(folder: Path) -> None:
    """Write Ray's list of checkpoints anew where a kill tore it: Ray writes it in place, and refuses a torn one."""
    snapshot = folder / SNAPSHOT
    try:
        json.loads(snapshot.read_text())
        return
    except FileNotFoundError:
        return
    except ValueError:
        pass
    whole = []
    for place in sorted(folder.glob("checkpoint_*")):
        try:
            whole.append(
                {"version": 0, "checkpoint_dir_name": place.name, "metrics": training.read_extra(place)["metrics"]}
            )
        except (OSError, RuntimeError, KeyError):  # the kill tore this one
            continue
    if not whole:
        snapshot.unlink()
        return
    order = sorted(range(len(whole)), key=lambda number: whole[number]["metrics"]["score"])
    names = ("pending_training_results", "pending_validation_specs", "validated_checkpoint_dir_names")
    names += ("timed_out_validation_checkpoint_dir_names", "failed_validation_checkpoint_dir_names")
    content = {
        "ray_version": ray.__version__,
        "checkpoint_results": [whole[number] for number in order],
        "checkpoint_report_indices": order,
        "latest_checkpoint_result": whole[-1],
        "current_report_index": len(whole),
        **{name: [] for name in names},
    }
    files.write_json(snapshot, content)
