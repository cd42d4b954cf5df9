"""The decoder (section 3.5): low-level features, gated by the coarsest map and by the SISM, refine the maps.

Legend: n images, d channels, h x w cells, s px.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from icnet.layers import ConvNorm, resize


class Refine(nn.Module):
    """One stage of the decoder: features at the next finer level, and a co-saliency map of them.

    `low`: channels of that level; `previous`: of the features so far; `widened`: between the two convolutions.
    """

    def __init__(self, low: int, previous: int, widened: int, channels: int) -> None:
        super().__init__()
        self.compress = nn.Conv2d(low, channels, 1)
        self.widen = ConvNorm(2 * channels + previous, widened)
        self.narrow = ConvNorm(widened, channels)
        self.head = nn.Conv2d(channels, 1, 1)

    def forward(
        self,
        low: Float[Tensor, "n d h w"],
        gates: tuple[Float[Tensor, "n 1 _ _"], Float[Tensor, "n 1 _ _"]],
        previous: Float[Tensor, "n _d _ _"],
    ) -> Float[Tensor, "n d h w"]:
        """Refine `previous` with compressed features `low`. `gates`: the coarsest map and the SISM, any size."""
        size = low.shape[2:]
        gated = [low * resize(gate, size).to(low.dtype) for gate in gates]
        stacked = torch.cat([*gated, resize(previous, size).to(low.dtype)], dim=1)
        narrowed: Tensor = self.narrow(self.widen(stacked).relu_())
        return narrowed.relu_()


class Decoder(nn.Module):
    """From the fused features to co-saliency maps at four levels, coarse to fine.

    `low`: channels of the backbone's three low levels, coarse to fine; `channels`: of the features at the coarsest map
    and at these levels; `widened`: between the two convolutions of each stage; `residual`: add the logits of each map
    to those of the next finer one.
    """

    def __init__(
        self, low: Sequence[int], channels: Sequence[int], widened: Sequence[int], residual: bool = False
    ) -> None:
        super().__init__()
        self.residual = residual
        self.head = nn.Conv2d(channels[0], 1, 1)
        self.stages = nn.ModuleList(map(Refine, low, channels, widened, channels[1:]))

    def compress(self, low: Sequence[Tensor]) -> list[Tensor]:
        """The low levels with the decoder's number of channels."""
        return [stage.get_submodule("compress")(level) for stage, level in zip(self.stages, low, strict=True)]

    def predict_coarsest(self, features: Float[Tensor, "n d h w"]) -> Float[Tensor, "n 1 h w"]:
        """The coarsest map, which needs no low levels."""
        return _compute_logits(self.head, features).sigmoid()

    def forward(
        self,
        features: Float[Tensor, "n d h w"],
        low: list[Tensor],
        sisms: Float[Tensor, "n 1 s s"],
        every_map: bool,
    ) -> list[Tensor]:
        """Maps in [0, 1], each at the size of its level, coarse to fine; only the finest unless `every_map`.

        `low`: compressed levels, coarse to fine.
        """
        logits = _compute_logits(self.head, features)
        coarsest = logits.sigmoid()
        maps = [coarsest]
        last = len(self.stages) - 1
        for number, (stage, level) in enumerate(zip(self.stages, low, strict=True)):
            features = stage(level, (coarsest, sisms), features)
            if every_map or number == last or self.residual:
                own = _compute_logits(stage.get_submodule("head"), features)
                logits = own + resize(logits, own.shape[2:]) if self.residual else own
                maps.append(logits.sigmoid())
        return maps if every_map else maps[-1:]


def _compute_logits(head: nn.Module, features: Float[Tensor, "n d h w"]) -> Float[Tensor, "n 1 h w"]:
    logits: Tensor = head(features)
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
