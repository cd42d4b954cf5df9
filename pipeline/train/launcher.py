"""Start a training on Ray Train, or continue it."""

import os
from pathlib import Path

import ray
import ray.train
from ray.train import CheckpointConfig, FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig

from pipeline.runtime import cluster
from pipeline.train.config import TrainConfig
from pipeline.train.job import Job, TrainError
from pipeline.train.ray_compat import GlooConfig, Trainer
from pipeline.train.worker import Worker

RANK_TIMEOUT_S = 3 * 3600
"""How long ranks wait for one another: one may validate groups for hours while the others have none left."""


def train_worker(config: dict[str, Job]) -> None:
    """The function that Ray Train runs on every worker."""
    Worker(config["job"]).run()


def scaling_config(config: TrainConfig) -> ScalingConfig:
    """Workers and GPUs. Raises TrainError where the cluster has too few: Ray would wait without an end."""
    available = cluster.count_gpus()
    gpus = available > 0 if config.use_gpu is None else config.use_gpu
    workers = config.num_workers or (max(available, 1) if gpus else 1)
    if gpus and workers > available:
        raise TrainError(f"train: {workers} GPUs are needed (num_workers, use_gpu), the cluster has {available}")
    if workers > (slots := int(ray.cluster_resources().get("CPU", 1))):
        raise TrainError(f"train.num_workers: {workers} are needed, the cluster has {slots} CPU slots")
    if config.batch_norm == "sync" and not gpus:
        raise TrainError("train.batch_norm: torch synchronizes batch norm on GPUs only; use per_rank on CPUs")
    return ScalingConfig(num_workers=workers, use_gpu=gpus, resources_per_worker={"CPU": 1, "GPU": int(gpus)})


def run_training(job: Job, scaling: ScalingConfig, folder: Path) -> ray.train.Result:
    """Run a training, or what is left of it, in `folder`. Raises TrainError where it stops before its end."""
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    if not os.environ.get("RAY_ADDRESS"):  # a local Ray has no preemption
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    trainer = Trainer(
        train_worker,
        train_loop_config={"job": job},
        torch_config=(GlooConfig if os.environ.get("RAY_ADDRESS") else TorchConfig)(
            backend="nccl" if scaling.use_gpu else "gloo", timeout_s=RANK_TIMEOUT_S
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
        raise TrainError(f"training stopped ({cause}); run it again to continue from its last checkpoint") from error
