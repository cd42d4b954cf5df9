"""A batch: images of one group with SISMs and masks."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Images of one group with SISMs and masks, n >= 2, and the batch's weight in its step's loss."""

    images: Tensor
    sisms: Tensor
    masks: Tensor
    weight: float = 1.0

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device, copied while it computes where the batch is pinned."""
        return Batch(
            *(part.to(device, non_blocking=True) for part in (self.images, self.sisms, self.masks)), self.weight
        )

    def pin(self) -> "Batch":
        """The batch in page-locked memory."""
        return Batch(*(part.pin_memory() for part in (self.images, self.sisms, self.masks)), self.weight)
