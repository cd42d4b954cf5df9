"""SISMs of ones: a SIV is then plain average pooling, the paper's ablation without SISMs."""

import numpy as np
import torch

from icnet.images import Pixels
from icnet.sod.base import Method, SaliencyMap, Spec, detect_one_by_one, make_identity

OUTPUT_VERSION = 1
"""Raise it whenever a map may change."""


def make(spec: Spec, device: torch.device) -> Method:
    """Make the method. Raises SodError if a file or an option is given."""
    spec.refuse_file()
    spec.refuse_options()
    return Method(detect_one_by_one(make_map), lambda: make_identity("ones", OUTPUT_VERSION))


def make_map(image: Pixels) -> SaliencyMap:
    """Return a map of ones of the image's size."""
    return np.ones(image.shape[:2], np.float32)


def estimate_memory(spec: Spec, pixels: int) -> int:
    """Estimate the bytes for one image: two float32 maps."""
    return 8 * pixels
