"""Inference: many groups at once, groups of any size, compiled parts and low precision.

Legend: n images, m SIVs of their group, s px a side.
"""

import copy
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from icnet.correlation import Cues
from icnet.layers import ConvNorm
from icnet.model import ICNet, Members, Prediction


class Predictor:
    """Predicts groups with a network in evaluation mode; at most `batch_size` images go through it at once.

    A group that fits in memory takes one call of `predict`. Larger groups take two passes over batches of their images,
    with the same result: `gather_cues` over all batches, then `predict` of each batch with these cues.
    """

    def __init__(self, model: ICNet, batch_size: int = 4) -> None:
        self.model, self.batch_size = model, batch_size

    def predict(
        self,
        images: Float[Tensor, "n 3 s s"],
        sisms: Float[Tensor, "n 1 s s"],
        cues: Cues | None = None,
        every_map: bool = False,
    ) -> Prediction:
        """Predict a whole group, or some images of the group that `cues` belong to."""
        return self.predict_groups(images, sisms, [len(images)], None if cues is None else [cues], every_map)[0]

    def predict_groups(
        self,
        images: Float[Tensor, "n 3 s s"],
        sisms: Float[Tensor, "n 1 s s"],
        sizes: Sequence[int],
        cues: Sequence[Cues] | None = None,
        every_map: bool = False,
    ) -> list[Prediction]:
        """Predict several groups together: the first sizes[0] images are the first group, and so on.

        `cues`: those of each group, needed where the images are only a part of it.
        """
        batches = [self.model.encode(batch) for batch in self._split(images)]
        masks = self._split(sisms)
        if cues is None:
            own = Cues.merge([self.model.pool_cues(*pair) for pair in zip(batches, masks, strict=True)])
            cues = own.split(sizes)
        decoded, start = [], 0
        for features, maps in zip(batches, masks, strict=True):
            groups = _find_members(sizes, cues, start, start + len(maps))
            decoded += self.model.decode(features, maps, groups, every_map)
            start += len(maps)
        return _join_by_group(decoded, sizes)

    def intra_cues(self, images: Float[Tensor, "n 3 s s"], sisms: Float[Tensor, "n 1 s s"]) -> Cues:
        """The SIVs of these images; `Cues.merge` joins those of all images of a group to the group's cues."""
        pairs = zip(self._split(images), self._split(sisms), strict=True)
        return Cues.merge([self.model.pool_cues(self.model.encode(batch, low=False), maps) for batch, maps in pairs])

    def gather_cues(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Cues:
        """The cues of a group from batches of its images, (images, sisms) each."""
        return Cues.merge([self.intra_cues(images, sisms) for images, sisms in batches])

    def _split(self, images: Tensor) -> tuple[Tensor, ...]:
        return torch.tensor_split(images, -(-len(images) // self.batch_size))


def optimize(model: ICNet, dtype: torch.dtype = torch.float32) -> ICNet:
    """A copy that predicts faster: batch norms folded, channels last, convolutions in `dtype`.

    Correlations, softmax, min-max and sort stay in float32. The copy can be neither trained nor saved.
    """
    fast = copy.deepcopy(model).eval().requires_grad_(False)
    for module in list(fast.modules()):
        if isinstance(module, ConvNorm):
            module.fold()
    for module in fast.modules():
        if isinstance(module, nn.Conv2d):
            module.to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return fast


def compile_parts(model: ICNet, **options: Any) -> None:
    """Compile backbone and decoder in place, once for every number of images; `options` are torch.compile's."""
    model.backbone.compile(**options)
    model.decoder.compile(**options)
    model.compiled = True


def _find_members(sizes: Sequence[int], cues: Sequence[Cues], start: int, stop: int) -> Members:
    """The groups that images `start` to `stop` belong to, and how many of these images belong to each."""
    ends = list(accumulate(sizes))
    counts = [min(stop, end) - max(start, end - size) for size, end in zip(sizes, ends, strict=True)]
    return [(count, of_group) for count, of_group in zip(counts, cues, strict=True) if count > 0]


def join_predictions(predictions: Sequence[Prediction]) -> Prediction:
    """One prediction from those of consecutive batches of a group."""
    csa = {stage: torch.cat([one.csa[stage] for one in predictions]) for stage in predictions[0].csa}
    maps, weights = (torch.cat([getattr(one, name) for one in predictions]) for name in ("maps", "weights"))
    return Prediction(maps, csa, weights)


def _join_by_group(predictions: Sequence[Prediction], sizes: Sequence[int]) -> list[Prediction]:
    """One prediction for each group from those of batches, which may hold several groups or only some images of one."""
    waiting, joined = iter(predictions), []
    for size in sizes:
        found: list[Prediction] = []
        while sum(len(one.maps) for one in found) < size:
            found.append(next(waiting))
        joined.append(join_predictions(found))
    return joined
