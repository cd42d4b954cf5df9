"""Keep the ranks of a distributed training equal."""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn


@torch.no_grad()
def broadcast_buffers(model: nn.Module) -> None:
    """Give every rank rank 0's buffers: batch norm statistics come from each rank's own batches."""
    _broadcast(model.buffers())


@torch.no_grad()
def broadcast_state(model: nn.Module) -> None:
    """Give every rank rank 0's parameters and buffers."""
    _broadcast([*model.parameters(), *model.buffers()])


def _broadcast(tensors: Iterable[Tensor]) -> None:
    """Broadcast tensors from rank 0 in place, one message for each data type; nothing happens in a single process."""
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return
    by_type: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        by_type.setdefault(tensor.dtype, []).append(tensor)
    for same in by_type.values():
        flat = torch.cat([tensor.flatten() for tensor in same])
        dist.broadcast(flat, src=0)
        for tensor, part in zip(same, torch.split(flat, [tensor.numel() for tensor in same]), strict=True):
            tensor.copy_(part.view(tensor.shape))
