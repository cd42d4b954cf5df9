"""What every worker of a training receives."""

from dataclasses import dataclass

from ray.util.queue import Queue

from pipeline.train.config import TrainConfig
from pipeline.train.split import Split


class TrainError(ValueError):
    """A training that cannot start or that broke off; the message says why and what to do."""


@dataclass(frozen=True)
class Job:
    """What every worker needs to know; paths are absolute."""

    config: TrainConfig
    split: Split
    samples: str
    initial: str
    queue: Queue
    gpus: bool = False
