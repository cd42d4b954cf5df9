"""How Ray Train runs a training: on which machines, with which checkpoints, and from what a kill left."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import ray.train
from ray.train import CheckpointConfig, FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.torch.config import _TorchBackend
from ray.util.queue import Queue

from icnet import training
from pipeline import cluster, tables
from pipeline.batches import Split

if TYPE_CHECKING:
    from pipeline.train import Params

SNAPSHOT = "checkpoint_manager_snapshot.json"
"""Ray Train's list of checkpoints; where it is, a training of that name goes on."""


class TrainError(ValueError):
    """A training that cannot start or that broke off; the message says why and what to do."""


@dataclass(frozen=True)
class Job:
    """What every worker needs to know; paths are absolute."""

    knobs: "Params"
    split: Split
    samples: str
    initial: str
    queue: Queue
    gpus: bool = False


def work(config: dict[str, Job]) -> None:
    """What Ray Train runs on every worker."""
    from pipeline.rank import Worker  # here, as driver and controller have no use for what validation imports

    Worker(config["job"]).run()


def machines(knobs: "Params") -> ScalingConfig:
    """Workers and GPUs. Raises TrainError where the cluster lacks what is asked for: Ray would wait for ever."""
    there = cluster.gpus()
    gpus = there > 0 if knobs.gpus is None else knobs.gpus
    workers = knobs.workers or (max(there, 1) if gpus else 1)
    if gpus and workers > there:
        raise TrainError(f"train: {workers} GPUs are asked for (workers, gpus), the cluster has {there}")
    if workers > (slots := int(ray.cluster_resources().get("CPU", 1))):
        raise TrainError(f"train.workers: {workers} are asked for, the cluster has {slots} CPU slots")
    if knobs.batch_norm == "sync" and not gpus:
        raise TrainError("train.batch_norm: torch can synchronise batch norm on GPUs only; here it is per_rank")
    return ScalingConfig(num_workers=workers, use_gpu=gpus, resources_per_worker={"CPU": 1, "GPU": int(gpus)})


class _Trainer(TorchTrainer):
    """Ray's trainer without the actor that watches placement groups through the dashboard, which a local Ray lacks."""

    def _create_default_callbacks(self) -> list[Any]:
        watched = bool(os.environ.get("RAY_ADDRESS"))
        callbacks = super()._create_default_callbacks()
        return [one for one in callbacks if watched or type(one).__name__ != "PlacementGroupCleanerCallback"]


class _Backend(_TorchBackend):
    """Ray's process group over the addresses by which Ray knows the machines: gloo would take what their names mean,
    which is 127.0.1.1 on many a Debian."""

    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        worker_group.execute(cluster.listen_to_others)
        super().on_start(worker_group, backend_config)


class _Config(TorchConfig):
    """A process group of ours."""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        return _Backend


def fit(job: Job, scaling: ScalingConfig, folder: Path) -> ray.train.Result:
    """Run a training, or what is left of it, in `folder`. Raises TrainError where it breaks off."""
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    mend(folder)
    if not os.environ.get("RAY_ADDRESS"):  # nobody takes this machine away with a notice
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    trainer = _Trainer(
        work,
        train_loop_config={"job": job},
        torch_config=(_Config if os.environ.get("RAY_ADDRESS") else TorchConfig)(
            backend="nccl" if scaling.use_gpu else "gloo"
        ),
        scaling_config=scaling,
        run_config=RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            failure_config=FailureConfig(max_failures=job.knobs.retries),
            checkpoint_config=CheckpointConfig(num_to_keep=1, checkpoint_score_attribute="score"),
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )
    try:
        return trainer.fit()
    except ray.train.TrainingFailedError as error:
        causes = getattr(error, "worker_failures", {0: error})
        cause = str(next(iter(causes.values()))).strip().splitlines()[-1]
        raise TrainError(f"training broke off ({cause}); run again, it goes on from its last checkpoint") from error


def mend(folder: Path) -> None:
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
            whole.append({"version": 0, "checkpoint_dir_name": place.name, "metrics": training.extra(place)["metrics"]})
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
    tables.write_json(snapshot, content)
