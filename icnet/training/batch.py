"""A batch: images of one group with their SISMs and masks."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Images [n, 3, s, s] of one group with SISMs and masks [n, 1, s, s], n >= 2.

    `weight` multiplies the batch's loss in the loss of its step; 0 leaves the batch out of the gradient.
    """

    images: Tensor
    sisms: Tensor
    masks: Tensor
    weight: float = 1.0

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device. A pinned batch is copied while the device computes."""
        images, sisms, masks = (part.to(device, non_blocking=True) for part in (self.images, self.sisms, self.masks))
        return Batch(images, sisms, masks, self.weight)

    def pin(self) -> "Batch":
        """The batch in page-locked memory."""
        return Batch(self.images.pin_memory(), self.sisms.pin_memory(), self.masks.pin_memory(), self.weight)
