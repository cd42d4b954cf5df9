"""The network of a checkpoint on this process's device."""

from functools import lru_cache

import torch

from icnet import checkpoint
from icnet.inference import optimize
from icnet.memory import keep_freed_blocks
from icnet.model import ICNet
from pipeline.runtime import devices


@lru_cache(maxsize=1)
def load_network(model: str, dtype: torch.dtype) -> ICNet:
    """The network, optimized for inference; on a CPU with one torch thread, as results depend on their number.

    Raises FileNotFoundError where there is no file, CheckpointError where it is not a checkpoint.
    """
    keep_freed_blocks()
    device = devices.get_device()
    if device.type == "cpu":
        torch.set_num_threads(1)
    return optimize(checkpoint.load(model, device), dtype)
