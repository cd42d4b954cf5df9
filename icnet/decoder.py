"""The decoder (section 3.5): low-level features, gated by the coarsest map and by the SISM, refine the maps."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from icnet.layers import ConvNorm, resize


class Refine(nn.Module):
    """One decoder stage: features at the next finer stage of the backbone and their co-saliency map."""

    def __init__(self, low: int, channels: int) -> None:
        super().__init__()
        self.compress = nn.Conv2d(low, channels, 1)
        self.widen = ConvNorm(3 * channels, 3 * channels)
        self.narrow = ConvNorm(3 * channels, channels)
        self.head = nn.Conv2d(channels, 1, 1)

    def forward(
        self,
        low: Float[Tensor, "n d h w"],
        gates: tuple[Float[Tensor, "n 1 _ _"], Float[Tensor, "n 1 _ _"]],
        previous: Float[Tensor, "n d _ _"],
    ) -> Float[Tensor, "n d h w"]:
        """`low`: this stage's compressed features; `gates`: the coarsest map and the SISM; all resized to `low`."""
        size = low.shape[2:]
        gated = [low * resize(gate, size).to(low.dtype) for gate in gates]
        stacked = torch.cat([*gated, resize(previous, size).to(low.dtype)], dim=1)
        return self.narrow(self.widen(stacked).relu_()).relu_()


class Decoder(nn.Module):
    """From the fused features of stage 4 to co-saliency maps at stages 4 to 1."""

    def __init__(self, low: list[int], channels: int) -> None:
        super().__init__()
        self.head = nn.Conv2d(channels, 1, 1)
        self.stages = nn.ModuleList(Refine(below, channels) for below in low)

    def compressed(self, low: list[Tensor]) -> list[Tensor]:
        """The backbone's features of stages 3, 2, 1 with the decoder's number of channels."""
        return [stage.compress(features) for stage, features in zip(self.stages, low, strict=True)]

    def forward(
        self,
        features: Float[Tensor, "n d h w"],
        low: list[Tensor],
        sisms: Float[Tensor, "n 1 s s"],
        every_map: bool,
    ) -> list[Tensor]:
        """Maps in [0, 1], coarse to fine, each at its own stage's size; the finest alone unless `every_map`."""
        coarsest = _predict_map(self.head, features)
        maps = [coarsest]
        last = len(self.stages) - 1
        for number, (stage, below) in enumerate(zip(self.stages, low, strict=True)):
            features = stage(below, (coarsest, sisms), features)
            if every_map or number == last:
                maps.append(_predict_map(stage.head, features))
        return maps if every_map else maps[-1:]


def _predict_map(head: nn.Conv2d, features: Float[Tensor, "n d h w"]) -> Float[Tensor, "n 1 h w"]:
    logits = head(features)
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).sigmoid()
