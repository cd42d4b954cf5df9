"""A batch: images of one group with their SISMs and masks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Images [n, 3, s, s] of one group with SISMs and masks [n, 1, s, s], n >= 2. `sizes`: in a batch of several
    groups, how many images each of them has, in order.

    `weight` multiplies the batch's loss in the loss of its step; 0 leaves the batch out of the gradient. `stored`: the
    images' frozen features, [n, c, h, w] at each depth (`ICNet.compute_stored`); empty where they are computed anew.
    """

    images: Tensor
    sisms: Tensor
    masks: Tensor
    weight: float = 1.0
    stored: tuple[Tensor, ...] = ()
    sizes: tuple[int, ...] = ()

    @classmethod
    def merge(cls, batches: Sequence["Batch"]) -> "Batch":
        """Batches of several groups as one, of weight 1; it has their `sizes`."""
        images, sisms, masks = (
            torch.cat([getattr(one, name) for one in batches]) for name in ("images", "sisms", "masks")
        )
        stored = tuple(torch.cat(depth) for depth in zip(*(one.stored for one in batches), strict=True))
        return cls(images, sisms, masks, stored=stored, sizes=tuple(map(len, batches)))

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device."""
        images, sisms, masks, *stored = (
            part.to(device) for part in (self.images, self.sisms, self.masks, *self.stored)
        )
        return replace(self, images=images, sisms=sisms, masks=masks, stored=tuple(stored))
