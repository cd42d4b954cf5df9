"""Reports that workers send to the driver while a training runs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # a worker has no use for MLflow, which takes seconds to import
    pass

STEP_LOSS, EPOCH_LOSS = "train/step_loss", "train/loss"
"""Metrics of every step and of every epoch, by their numbers."""


@dataclass(frozen=True)
class Steps:
    """Mean losses of steps since the last report, by their number since the training began; `done` of `all`."""

    losses: dict[int, float]
    epoch: int = 0
    done: int = 0
    all: int = 0


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


def metric_name(key: str) -> str:
    """A column of history.csv as a metric: `val_max_f` is `val/max_f`, `images_per_s` is `train/images_per_s`."""
    section, _, rest = key.partition("_")
    return f"{section}/{rest}" if section in ("train", "val") else f"train/{key}"


def format_epoch(row: dict[str, float], epochs: int) -> str:
    """An epoch for a person."""
    left = (epochs - row["epoch"]) * row["seconds"]
    text = f"epoch {int(row['epoch'])}/{epochs}  {format_scores(row)}  {row['images_per_s']:.1f} images/s"
    return text + (f"  {format_duration(left)} to go" if left else "")


def format_scores(row: dict[str, float]) -> str:
    """Losses and validation scores of an epoch for a person."""
    text = f"loss {row['train_loss']:.4f}"
    if "val_loss" not in row:
        return text
    return text + "  val loss {val_loss:.4f} max F {val_max_f:.3f} S {val_s:.3f} MAE {val_mae:.3f}".format(**row)


def format_duration(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
