"""Start a training on Ray Train, or resume it."""

import os
from pathlib import Path

import ray
import ray.train
from ray.train import CheckpointConfig, FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig

from pipeline.runtime import cluster
from pipeline.train.config import TrainConfig
from pipeline.train.job import Job, TrainError
from pipeline.train.ray_compat import GlooConfig, Trainer, repair_snapshot
from pipeline.train.worker import Worker


def train_worker(config: dict[str, Job]) -> None:
    """What Ray Train runs on every worker."""
    Worker(config["job"]).run()


def scaling_config(config: TrainConfig) -> ScalingConfig:
    """Workers and GPUs. Raises TrainError where the cluster lacks what is asked for: Ray would wait for ever."""
    there = cluster.count_gpus()
    gpus = there > 0 if config.use_gpu is None else config.use_gpu
    workers = config.num_workers or (max(there, 1) if gpus else 1)
    if gpus and workers > there:
        raise TrainError(f"train: {workers} GPUs are asked for (workers, gpus), the cluster has {there}")
    if workers > (slots := int(ray.cluster_resources().get("CPU", 1))):
        raise TrainError(f"train.num_workers: {workers} are asked for, the cluster has {slots} CPU slots")
    if config.batch_norm == "sync" and not gpus:
        raise TrainError("train.batch_norm: torch can synchronize batch norm on GPUs only; here it is per_rank")
    return ScalingConfig(num_workers=workers, use_gpu=gpus, resources_per_worker={"CPU": 1, "GPU": int(gpus)})


def run_training(job: Job, scaling: ScalingConfig, folder: Path) -> ray.train.Result:
    """Run a training, or what is left of it, in `folder`. Raises TrainError where it breaks off."""
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    repair_snapshot(folder)
    if not os.environ.get("RAY_ADDRESS"):  # nobody takes this machine away with a notice
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    trainer = Trainer(
        train_worker,
        train_loop_config={"job": job},
        torch_config=(GlooConfig if os.environ.get("RAY_ADDRESS") else TorchConfig)(
            backend="nccl" if scaling.use_gpu else "gloo"
        ),
        scaling_config=scaling,
        run_config=RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            failure_config=FailureConfig(max_failures=job.config.max_failures),
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
