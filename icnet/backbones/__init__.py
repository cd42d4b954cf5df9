"""Backbones: networks that turn images into features. `base` documents what each of them gives."""

from collections.abc import Callable

from icnet.backbones.base import Backbone, Levels
from icnet.backbones.dinov2 import DINOv2
from icnet.backbones.vgg16 import VGG16
from icnet.config import Config

__all__ = ["BACKBONES", "VGG16", "Backbone", "DINOv2", "Levels", "make_backbone"]

BACKBONES: dict[str, Callable[[Config], Backbone]] = {"vgg16": VGG16, "dinov2_vits14": DINOv2}


def make_backbone(config: Config) -> Backbone:
    """The backbone that a config names. Raises ValueError where there is none of that name."""
    if config.backbone not in BACKBONES:
        raise ValueError(f"backbone must be one of {', '.join(BACKBONES)}, got {config.backbone!r}")
    return BACKBONES[config.backbone](config)
