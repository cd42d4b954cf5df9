"""ICNet: Intra-saliency Correlation Network for Co-Saliency Detection (Jin et al., NeurIPS 2020), in pure torch.

Shapes throughout: n images in a group, c channels, h x w cells, p = h * w, s the side of the square input in px.
"""

import importlib.util
from ctypes import CDLL
from pathlib import Path

import torch


def _declare_missing_vision_operators() -> None:
    """Let torchvision import beside a torch whose libraries its compiled operators cannot link against.

    A CUDA build of torchvision next to a CPU build of torch cannot load its operators, and `import torchvision`
    then fails because two schemas are missing. Declaring them is enough for everything that is plain Python.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return
    for library in Path(spec.origin).parent.glob("_C.*"):
        try:
            CDLL(str(library))
            return
        except OSError:
            continue
    declare = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        declare.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _keep_alive.append(declare)


_keep_alive: list[torch.library.Library] = []
_declare_missing_vision_operators()
