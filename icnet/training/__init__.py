"""Training in plain PyTorch: batches, optimizer, state on disk and the loop. No Ray, no MLflow."""

from icnet.precision import PRECISIONS
from icnet.training.batch import Batch
from icnet.training.layout import EpochLayout
from icnet.training.loop import DivergedError, PlannedStep, Step, check_losses, run_steps
from icnet.training.optim import OPTIMIZERS, WARMUP_START, make_optimizer, make_schedule, read_rates
from icnet.training.pooling import SivSources
from icnet.training.state import (
    EMA_FILE,
    MODEL_FILE,
    STATE_FILE,
    DamagedCheckpointError,
    Training,
    load_best_weights,
    read_extra,
)

__all__ = [
    "EMA_FILE",
    "MODEL_FILE",
    "OPTIMIZERS",
    "PRECISIONS",
    "STATE_FILE",
    "WARMUP_START",
    "Batch",
    "DamagedCheckpointError",
    "DivergedError",
    "EpochLayout",
    "PlannedStep",
    "SivSources",
    "Step",
    "Training",
    "check_losses",
    "load_best_weights",
    "make_optimizer",
    "make_schedule",
    "read_extra",
    "read_rates",
    "run_steps",
]
