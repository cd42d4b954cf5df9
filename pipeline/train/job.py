"""What every worker of a training receives."""

from dataclasses import dataclass

from ray.util.queue import Queue

from pipeline.train.config import TrainConfig
from pipeline.train.split import Split


class TrainError(ValueError):
    """A training that cannot start or that stopped; the message gives the cause and what to do."""


@dataclass(frozen=True)
class Job:
    """A training as workers see it; paths are absolute and on a disk that all machines share.

    `samples`: memory map of the samples; `initial`: checkpoint of the first weights; `losses`: file of step losses;
    `features`: folder of stored features, or None.
    """

    config: TrainConfig
    split: Split
    samples: str
    initial: str
    losses: str
    queue: Queue | None
    gpus: bool = False
    features: str | None = None
