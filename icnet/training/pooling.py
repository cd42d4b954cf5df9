"""What the SIVs of a training batch are pooled from: the SISMs, the masks, or the maps of an earlier look."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from icnet.training.batch import Batch


@dataclass(frozen=True)
class SivSources:
    """Shares of the batches, in [0, 1], whose SIVs are not pooled from the SISMs.

    `masks`: from the masks, so that the blocks learn what a right SIV leads to. `looks`: from the coarsest maps that
    the network predicts itself, as in a later look (`Config.looks`); no gradient flows through them. They are those of
    the first look or, for a network with three looks, in half of these batches those of the second.
    """

    masks: float = 0.0
    looks: float = 0.0

    def choose(self, model: Any, batch: Batch) -> Tensor | None:
        """Maps [n, 1, h, w] in [0, 1] to pool from; None: the SISMs. It depends on torch's random numbers."""
        if not self.masks and not self.looks:
            return None
        draw = float(torch.rand(()))
        if draw < self.masks:
            return batch.masks
        if draw >= self.masks + self.looks:
            return None
        most = max(1, model.config.looks - 1)
        return predict_coarsest(model, batch, int(torch.randint(1, most + 1, ())) if most > 1 else 1)


@torch.no_grad()
def predict_coarsest(model: Any, batch: Batch, looks: int = 1) -> Tensor:
    """The coarsest maps of an `ICNet` after so many looks, in evaluation mode; the modes of its parts stay the same."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    features = model.restore(batch.stored, batch.images) if batch.stored else model.encode(batch.images, low=False)
    cues = model.pool_cues(features, batch.sisms)
    sizes = batch.sizes or (len(batch),)
    for _ in range(looks - 1):
        cues = model.pool_again(features, batch.sisms, list(zip(sizes, cues.split(sizes), strict=True)))
    maps: Tensor = model.find_coarse_maps(features, batch.sisms, list(zip(sizes, cues.split(sizes), strict=True)))
    for module, mode in modes.items():
        module.training = mode
    return maps
