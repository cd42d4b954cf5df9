"""Checkpoints of small untrained networks."""

from pathlib import Path

import torch

from icnet import checkpoint
from icnet.config import Config
from icnet.model import ICNet


def save_small(folder: Path, side: int, **metadata: object) -> Path:
    """Write the same small VGG-16 network for inputs of `side` px each time; returns its file."""
    torch.manual_seed(3)
    file = folder / "model.safetensors"
    checkpoint.save(ICNet(Config(size=side, width=0.125, init="he")), file, **metadata)
    return file
