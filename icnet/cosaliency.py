"""The co-saliency block: Figure 2 between the backbone and the decoder, at one stage.

Legend: n images, m SIVs of their group, c channels, h x w cells, p = h * w, k channels of the co-saliency features.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from icnet import correlation
from icnet.config import Config
from icnet.layers import Residual, disable_autocast


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
        self, features: Float[Tensor, "n c h w"], groups: Sequence[tuple[int, Float[Tensor, "_ 2 c"]]]
    ) -> tuple[Float[Tensor, "n k h w"], Float[Tensor, "n 1 h w"] | None, list[Float[Tensor, "_ _m"]]]:
        """The enhanced features, the foreground's CSA maps (None without the CFM) and, a group, its SIVs' weights.

        `groups`: how many of the images, one after the other, belong to each group, and the group's SIVs.
        """
        parts = features.split([count for count, _ in groups])
        sivs = [group for _, group in groups]
        with disable_autocast(features):
            if self.config.fusion == "cfm":
                fore, back = (self._attention(parts, [group[:, side] for group in sivs]) for side in (0, 1))
                projections = [self._attended(features, maps) for maps, _ in (fore, back)]
                maps, weights = fore
            else:
                projections = [self._tiled(features, parts, [group[:, side] for group in sivs]) for side in (0, 1)]
                pairs = zip(parts, sivs, strict=True)
                maps, weights = None, [part.new_full((len(part), len(group)), 1 / len(group)) for part, group in pairs]
        branches = [self.branch(part.to(self.join.weight.dtype)) for part in projections]
        return self.joined(self.join(torch.cat(branches, dim=1))), maps, weights

    def attend(
        self, features: Float[Tensor, "n c h w"], sivs: Float[Tensor, "m c"]
    ) -> tuple[Float[Tensor, "n 1 h w"], Float[Tensor, "n m"]]:
        """One branch's CSA maps and weights."""
        return correlation.compute_csa(features, sivs, self.alpha, raw=self.config.summed == "raw")

    def _attention(self, parts: Sequence[Tensor], sivs: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        found = [self.attend(*pair) for pair in zip(parts, sivs, strict=True)]
        return torch.cat([maps for maps, _ in found]), [weights for _, weights in found]

    def _attended(self, features: Float[Tensor, "n c h w"], maps: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n k h w"]:
        weight, bias = self._projection(features)
        return self._correlated(weight, features, maps) * maps + bias

    def _tiled(
        self, features: Float[Tensor, "n c h w"], parts: Sequence[Tensor], sivs: Sequence[Float[Tensor, "_ c"]]
    ) -> Float[Tensor, "n k h w"]:
        weight, bias = self._projection(features)
        own, group = weight.split([weight.shape[1] - features.shape[1], features.shape[1]], dim=1)
        pairs = zip(parts, sivs, strict=True)
        means = [torch.mv(group, of_group.mean(dim=0)).expand(len(part), -1) for part, of_group in pairs]
        return self._correlated(own, features, None) + torch.cat(means)[:, :, None, None] + bias

    def _correlated(
        self, weight: Float[Tensor, "k i"], features: Float[Tensor, "n c h w"], maps: Tensor | None
    ) -> Float[Tensor, "n k h w"]:
        if self.config.features == "nf":
            return torch.einsum("ki,nihw->nkhw", weight, features)
        factor = (
            correlation.rearrange_cells(features, maps)
            if self.config.rearranged
            else correlation.flatten_cells(features)
        )
        return correlation.project_scf(weight, factor, features)

    def _projection(self, features: Tensor) -> tuple[Float[Tensor, "k i"], Float[Tensor, "k 1 1"]]:
        weight, bias = self.project.weight.to(features.dtype), self.project.bias.to(features.dtype)
        return weight.flatten(1), bias.view(-1, 1, 1)
