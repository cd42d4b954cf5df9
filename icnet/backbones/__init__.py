"""Backbones: networks that turn images into features. `base` documents what each of them gives."""

from icnet.backbones.base import Backbone, Levels
from icnet.backbones.vgg16 import VGG16
from icnet.config import Config

__all__ = ["VGG16", "Backbone", "Levels", "make_backbone"]


def make_backbone(config: Config) -> Backbone:
    """The backbone that a config names."""
    return VGG16(config)
