"""No saliency at all: every SISM is 1, so a SIV is plain average pooling (the paper's ablation without SISMs)."""

import numpy as np
import torch

from icnet.sod.base import Method, Spec, detect_one_by_one, make_identity


def make(spec: Spec, device: torch.device) -> Method:
    """Maps of ones."""
    spec.no_file()
    spec.options()
    return Method(
        detect_one_by_one(lambda image: np.ones(image.shape[:2], np.float32)), lambda: make_identity("ones", 1)
    )
