"""Object maps: what the features themselves say about objects. They are not in the paper.

An RSCF holds correlations alone, so that the network knows an object only by its SISM. Object maps are few: with many,
a network learns the categories of its training.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from icnet.layers import resize

DROPPED = 0.2
"""Share of the channels of the features that are left out in training."""


class ObjectMaps(nn.Module):
    """`count` maps of the features of all stages, widened to `out` channels of co-saliency features."""

    def __init__(self, channels: Sequence[int], count: int, out: int) -> None:
        super().__init__()
        self.find = nn.Conv2d(sum(channels), count, 1)
        self.widen = nn.Conv2d(count, out, 1)

    def forward(
        self, features: Sequence[Float[Tensor, "n _c _h _w"]], size: tuple[int, ...]
    ) -> Float[Tensor, "n k h w"]:
        """To add to the co-saliency features of `size` (h, w). `features`: l2-normalized, of every stage."""
        spread = [resize(part, size) * part.shape[1] ** 0.5 for part in features]  # about 1 in each channel
        joined = torch.cat(spread, dim=1).to(self.find.weight.dtype)
        maps = self.find(functional.dropout2d(joined, DROPPED, self.training)).relu()
        widened: Tensor = self.widen(maps)
        return widened
