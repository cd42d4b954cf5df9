"""The co-saliency block: Figure 2 between the backbone and the decoder, at one stage.

Legend: n images, m SIVs of their group, c channels, h x w cells, p = h * w, k channels of the co-saliency features.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from icnet import cues as intra
from icnet.blocks import Residual, full_precision
from icnet.config import Config


class CosaliencyBlock(nn.Module):
    """Sections 3.2-3.4 at one stage; foreground and background branch share every weight."""

    def __init__(self, channels: int, side: int, out: int, config: Config) -> None:
        super().__init__()
        self.config = config
        inputs = side * side if config.features == "scf" else channels
        if config.fusion == "mean":
            inputs += channels
        else:
            alpha = torch.ones(())
            learned = config.alpha == "learned"
            self.alpha = nn.Parameter(alpha) if learned else nn.Buffer(alpha, persistent=False)
        self.project = nn.Conv2d(inputs, out, 1)
        self.branch = Residual(out)
        self.join = nn.Conv2d(2 * out, out, 1)
        self.joined = Residual(out)

    def forward(
        self, features: Float[Tensor, "n c h w"], sivs: Float[Tensor, "m 2 c"]
    ) -> tuple[Float[Tensor, "n k h w"], Float[Tensor, "n 1 h w"] | None, Float[Tensor, "n m"]]:
        """The enhanced features, the foreground's CSA maps (None without the CFM) and its SIVs' weights."""
        with full_precision(features):
            if self.config.fusion == "cfm":
                attention = [self.attend(features, sivs[:, branch]) for branch in (0, 1)]
                projections = [self._attended(features, maps) for maps, _ in attention]
                maps, weights = attention[0]
            else:
                projections = [self._tiled(features, sivs[:, branch]) for branch in (0, 1)]
                maps, weights = None, features.new_full((len(features), len(sivs)), 1 / len(sivs))
        branches = [self.branch(part.to(self.join.weight.dtype)) for part in projections]
        return self.joined(self.join(torch.cat(branches, dim=1))), maps, weights

    def attend(
        self, features: Float[Tensor, "n c h w"], sivs: Float[Tensor, "m c"]
    ) -> tuple[Float[Tensor, "n 1 h w"], Float[Tensor, "n m"]]:
        """One branch's CSA maps and weights."""
        return intra.csa(features, sivs, self.alpha, raw=self.config.summed == "raw")

    def _attended(self, features: Float[Tensor, "n c h w"], maps: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n k h w"]:
        weight, bias = self._projection(features)
        return self._correlated(weight, features, maps) * maps + bias

    def _tiled(self, features: Float[Tensor, "n c h w"], sivs: Float[Tensor, "m c"]) -> Float[Tensor, "n k h w"]:
        weight, bias = self._projection(features)
        own, group = weight.split([weight.shape[1] - sivs.shape[1], sivs.shape[1]], dim=1)
        constant = torch.mv(group, sivs.mean(dim=0)).view(-1, 1, 1)
        return self._correlated(own, features, None) + constant + bias

    def _correlated(
        self, weight: Float[Tensor, "k i"], features: Float[Tensor, "n c h w"], maps: Tensor | None
    ) -> Float[Tensor, "n k h w"]:
        if self.config.features == "nf":
            return torch.einsum("ki,nihw->nkhw", weight, features)
        factor = intra.rearranged(features, maps) if self.config.rearranged else intra.cells(features)
        return intra.projected(weight, factor, features)

    def _projection(self, features: Tensor) -> tuple[Float[Tensor, "k i"], Float[Tensor, "k 1 1"]]:
        weight, bias = self.project.weight.to(features.dtype), self.project.bias.to(features.dtype)
        return weight.flatten(1), bias.view(-1, 1, 1)
