"""Inference: many groups at once, groups of any size, compiled parts and low precision.

Legend: n images, m SIVs of their group, s px a side.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
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

    A group that fits in memory takes one call of `predict`. Larger groups take several passes over batches of their
    images, with the same result. There is one pass a look (`Config.looks`, usually 1) to find the group's cues:

        cues = None
        for _ in range(predictor.looks):
            cues = Cues.merge([predictor.intra_cues(images, sisms, cues) for images, sisms in batches])
        maps = [predictor.predict(images, sisms, cues).maps for images, sisms in batches]

    `gather_cues` is this loop. `map_batches` is the built-in `map`, or that of a thread pool, which computes several
    batches at the same time. `looks`: None takes those of the network's config. Raises ValueError where a config cannot
    have so many.
    """

    def __init__(
        self,
        model: ICNet,
        batch_size: int = 4,
        map_batches: Callable[..., Iterable[Any]] = map,
        looks: int | None = None,
    ) -> None:
        self.model, self.batch_size, self.map_batches = model, batch_size, map_batches
        self.looks = model.config.looks if looks is None else replace(model.config, looks=looks).looks
        """How many passes over a large group it takes to find its cues."""

    def predict(
        self,
        images: Float[Tensor, "n 3 s s"],
        sisms: Float[Tensor, "n 1 s s"],
        cues: Cues | None = None,
        every_map: bool = False,
    ) -> Prediction:
        """Predict a whole group, or some images of the group whose last look has these `cues`."""
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

        `cues`: those of each group's last look, needed where the images are only a part of the group.
        """
        batches = list(self.map_batches(self.model.encode, self._split(images)))
        masks = self._split(sisms)
        if cues is None:
            own = [self.model.pool_cues(*pair) for pair in zip(batches, masks, strict=True)]
            cues = Cues.merge(own).split(sizes)
            for _ in range(self.looks - 1):
                parts = zip(batches, masks, _assign(masks, sizes, cues), strict=True)
                again = self.map_batches(lambda part: self.model.pool_again(*part), parts)
                cues = Cues.merge(list(again)).split(sizes)
        parts = zip(batches, masks, _assign(masks, sizes, cues), strict=True)
        decoded = self.map_batches(lambda part: self.model.decode(part[0], part[1], part[2], every_map), parts)
        return _join_by_group([one for predictions in decoded for one in predictions], sizes)

    def intra_cues(
        self, images: Float[Tensor, "n 3 s s"], sisms: Float[Tensor, "n 1 s s"], cues: Cues | None = None
    ) -> Cues:
        """The SIVs of these images for the first look or, with the `cues` of their whole group, for the next look.

        `Cues.merge` joins the SIVs of all images of a group to the group's cues.
        """

        def find_cues(pair: tuple[Tensor, Tensor]) -> Cues:
            batch, maps = pair
            features = self.model.encode(batch, low=False)
            if cues is None:
                return self.model.pool_cues(features, maps)
            return self.model.pool_again(features, maps, [(len(batch), cues)])

        return Cues.merge(list(self.map_batches(find_cues, zip(self._split(images), self._split(sisms), strict=True))))

    def gather_cues(self, read: Callable[[], Iterable[tuple[Tensor, Tensor]]]) -> Cues:
        """The cues of a group's last look. `read` gives batches of its images, (images, sisms), once a look."""
        cues = Cues.merge([self.intra_cues(images, sisms) for images, sisms in read()])
        for _ in range(self.looks - 1):
            cues = Cues.merge([self.intra_cues(images, sisms, cues) for images, sisms in read()])
        return cues

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
    fast.backbone.pretrained.to(dtype)
    for module in fast.modules():
        if isinstance(module, nn.Conv2d):
            module.to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return fast


def compile_parts(model: ICNet, **options: Any) -> None:
    """Compile backbone and decoder in place, once for every number of images; `options` are torch.compile's."""
    model.backbone.compile(**options)
    model.decoder.compile(**options)
    model.compiled = True


def _assign(batches: Sequence[Tensor], sizes: Sequence[int], cues: Sequence[Cues]) -> list[Members]:
    """For consecutive batches of images: the groups of each batch, and how many of its images belong to each."""
    ends, found, start = list(accumulate(sizes)), [], 0
    for batch in batches:
        stop = start + len(batch)
        counts = [min(stop, end) - max(start, end - size) for size, end in zip(sizes, ends, strict=True)]
        found.append([(count, of_group) for count, of_group in zip(counts, cues, strict=True) if count > 0])
        start = stop
    return found


def average_siv_weights(weights: Float[Tensor, "n m"]) -> Float[Tensor, " m"]:
    """The mean weight of each SIV over n images; 1 is the weight of an average SIV of the group."""
    return weights.float().mean(dim=0) * weights.shape[1]


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
