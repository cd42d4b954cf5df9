"""What the SIVs of a training batch are pooled from: the SISMs, the masks, or the maps of a first look."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from icnet.training.batch import Batch


@dataclass(frozen=True)
class SivSources:
    """Shares of the batches, in [0, 1], whose SIVs are not pooled from the SISMs.

    `masks`: from the masks, so that the blocks learn what a right SIV leads to. `first_look`: from the coarsest maps
    that the network predicts from the SISMs, as in a second look (`Config.looks`); no gradient flows through them.
    """

    masks: float = 0.0
    first_look: float = 0.0

    def choose(self, model: Any, batch: Batch) -> Tensor | None:
        """Maps [n, 1, h, w] in [0, 1] to pool from; None: the SISMs. It depends on torch's random numbers."""
        if not self.masks and not self.first_look:
            return None
        draw = float(torch.rand(()))
        if draw < self.masks:
            return batch.masks
        return predict_first_look(model, batch) if draw < self.masks + self.first_look else None


@torch.no_grad()
def predict_first_look(model: Any, batch: Batch) -> Tensor:
    """The coarsest maps of an `ICNet` for a batch, in evaluation mode; the modes of its parts stay as they were."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    features = model.restore(batch.stored, batch.images) if batch.stored else model.encode(batch.images, low=False)
    cues = model.pool_cues(features, batch.sisms)
    sizes = batch.sizes or (len(batch),)
    maps: Tensor = model.find_coarse_maps(features, batch.sisms, list(zip(sizes, cues.split(sizes), strict=True)))
    for module, mode in modes.items():
        module.training = mode
    return maps
