"""The models of torchvision that this package uses. Import them from here: torchvision needs a preparation first.

A CUDA build of torchvision beside a CPU build of torch cannot load its compiled operators. `import torchvision` then
fails, because the schemas of two operators are missing. Declaring them is enough for everything in plain Python.
"""

import importlib.util
from ctypes import CDLL
from pathlib import Path

import torch


def _declare_missing_operators() -> torch.library.Library | None:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return None
    for library in Path(spec.origin).parent.glob("_C.*"):
        try:
            CDLL(str(library))
            return None
        except OSError:
            continue
    operators = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        operators.define(schema)
    return operators


_OPERATORS = _declare_missing_operators()  # the declarations last as long as this object

from torchvision.models import VGG16_Weights, vgg16  # noqa: E402
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet  # noqa: E402

__all__ = ["BasicBlock", "Bottleneck", "ResNet", "VGG16_Weights", "vgg16"]
