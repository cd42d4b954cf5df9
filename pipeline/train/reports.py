"""Reports that workers send to the driver, and how it prints them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

STEP_LOSS, EPOCH_LOSS = "train/step_loss", "train/loss"
"""MLflow metrics of every step and of every epoch."""


@dataclass(frozen=True)
class Steps:
    """Mean losses of steps `first`, `first` + 1 ... since the training began (from 1).

    `done` of `total` batches of `epoch` are finished.
    """

    first: int
    losses: Sequence[float]
    epoch: int = 0
    done: int = 0
    total: int = 0


@dataclass(frozen=True)
class Epoch:
    """A row of history.csv."""

    row: dict[str, float]


@dataclass(frozen=True)
class Panel:
    """A picture of a validation group at the end of an epoch, uint8 RGB."""

    group: str
    epoch: int
    picture: np.ndarray


@dataclass(frozen=True)
class Divergence:
    """The loss is not finite: the training has ended; `message` gives the epoch and what to change."""

    message: str


Report = Steps | Epoch | Panel | Divergence


def metric_name(column: str) -> str:
    """The MLflow metric of a column of history.csv: `val_max_f` is `val/max_f`, `lr` is `train/lr`."""
    section, _, rest = column.partition("_")
    return f"{section}/{rest}" if section in ("train", "val") else f"train/{column}"


def format_epoch(row: dict[str, float], epochs: int) -> str:
    """An epoch as one line: scores, speed and the time that is left."""
    left = (epochs - row["epoch"]) * row["seconds"]
    text = f"epoch {int(row['epoch'])}/{epochs}  {format_scores(row)}  {row['images_per_s']:.1f} images/s"
    return text + (f"  {format_duration(left)} to go" if left else "")


def format_scores(row: dict[str, float]) -> str:
    """Losses and validation scores of an epoch."""
    text = f"loss {row['train_loss']:.4f}"
    if "val_loss" not in row:
        return text
    return text + "  val loss {val_loss:.4f} max F {val_max_f:.3f} S {val_s:.3f} MAE {val_mae:.3f}".format(**row)


def format_duration(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
