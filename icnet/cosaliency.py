"""The co-saliency block: sections 3.2 to 3.4 at one stage of the backbone.

Legend: n images, m SIVs of their group, c channels, h x w cells, p = h * w, k channels of the co-saliency features.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from icnet import correlation
from icnet.config import Config
from icnet.layers import Residual, disable_autocast

SIMILARITY_MAPS = 3
"""Maps of each branch that `Config.similarity_maps` gives a block."""


class CosaliencyBlock(nn.Module):
    """Sections 3.2 to 3.4 at one stage; the foreground and the background branch share all weights.

    `channels`: of the features; `side`: cells along a side of them; `out`: channels of the co-saliency features.
    """

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
        if config.similarity_maps:
            self.widen = nn.Conv2d(2 * SIMILARITY_MAPS, out, 1)
        self.join = nn.Conv2d(2 * out, out, 1)
        self.joined = Residual(out)

    def forward(
        self,
        features: Float[Tensor, "n c h w"],
        groups: Sequence[tuple[int, Float[Tensor, "_ 2 c"]]],
        own: Float[Tensor, "n 2 c"] | None = None,
    ) -> tuple[Float[Tensor, "n k h w"], Float[Tensor, "n 1 h w"] | None, list[Float[Tensor, "_ _m"]]]:
        """Enhanced features, CSA maps of the foreground (None without the CFM), and per group the SIVs' weights.

        `groups`: for each group, in order, how many of the n images belong to it, and the SIVs of the whole group.
        `own`: the SIVs of these images, which `Config.similarity_maps` needs.
        """
        parts = torch.split(features, [count for count, _ in groups])
        sivs = [of_group for _, of_group in groups]
        with disable_autocast(features):
            if self.config.fusion == "cfm":
                foreground, background = (self._compute_csa(parts, [one[:, side] for one in sivs]) for side in (0, 1))
                projected = [self._project_attended(features, found[0]) for found in (foreground, background)]
                maps, weights = foreground
                attended = [foreground[0], background[0]]
            else:
                projected = [self._project_tiled(features, parts, [one[:, side] for one in sivs]) for side in (0, 1)]
                pairs = zip(parts, sivs, strict=True)
                maps, weights = (
                    None,
                    [part.new_full((part.shape[0], one.shape[0]), 1 / one.shape[0]) for part, one in pairs],
                )
            similar = None if own is None else self._stack_similarities(parts, groups, own, attended)
        branches = [self.branch(part.to(self.join.weight.dtype)) for part in projected]
        joined = self.join(torch.cat(branches, dim=1))
        if similar is not None:
            joined = joined + self.widen(similar.to(joined.dtype))
        return self.joined(joined), maps, weights

    def attend(
        self, features: Float[Tensor, "n c h w"], sivs: Float[Tensor, "m c"]
    ) -> tuple[Float[Tensor, "n 1 h w"], Float[Tensor, "n m"]]:
        """The CSA maps and weights of one branch (equation 2)."""
        return correlation.compute_csa(features, sivs, self.alpha, raw=self.config.cfm_sum == "raw")

    def _compute_csa(self, parts: Sequence[Tensor], sivs: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        found = [self.attend(*pair) for pair in zip(parts, sivs, strict=True)]
        return torch.cat([maps for maps, _ in found]), [weights for _, weights in found]

    def _stack_similarities(
        self,
        parts: Sequence[Tensor],
        groups: Sequence[tuple[int, Tensor]],
        own: Float[Tensor, "n 2 c"],
        attended: Sequence[Float[Tensor, "n 1 h w"]],
    ) -> Float[Tensor, "n 6 h w"]:
        """For each branch: similarity to the group's mean SIV, the CSA map, and similarity to the image's own SIV."""
        features, stacked = torch.cat(list(parts)), []
        for side, maps in enumerate(attended):
            means = [correlation.l2_normalize(sivs[:, side].mean(dim=0), dim=0) for _, sivs in groups]
            shared = torch.cat([mean.expand(count, -1) for (count, _), mean in zip(groups, means, strict=True)])
            stacked += [correlation.correlate_siv(features, shared), maps]
            stacked.append(correlation.correlate_siv(features, own[:, side].to(features.dtype)))
        return torch.cat(stacked, dim=1)

    def _project_attended(
        self, features: Float[Tensor, "n c h w"], maps: Float[Tensor, "n 1 h w"]
    ) -> Float[Tensor, "n k h w"]:
        """The 1x1 convolution of features times CSA maps; the multiplication by one channel can come last."""
        weight, bias = self._read_projection(features)
        return self._correlate(weight, features, maps) * maps + bias

    def _project_tiled(
        self, features: Float[Tensor, "n c h w"], parts: Sequence[Tensor], sivs: Sequence[Float[Tensor, "_ c"]]
    ) -> Float[Tensor, "n k h w"]:
        """Without the CFM: the 1x1 convolution of features and, beside them, the group's mean SIV in every cell."""
        weight, bias = self._read_projection(features)
        own, shared = torch.split(weight, [weight.shape[1] - features.shape[1], features.shape[1]], dim=1)
        pairs = zip(parts, sivs, strict=True)
        means = [torch.mv(shared, of_group.mean(dim=0)).expand(part.shape[0], -1) for part, of_group in pairs]
        return self._correlate(own, features, None) + torch.cat(means)[:, :, None, None] + bias

    def _correlate(
        self, weight: Float[Tensor, "k i"], features: Float[Tensor, "n c h w"], maps: Tensor | None
    ) -> Float[Tensor, "n k h w"]:
        """A 1x1 convolution of what Table 2 calls NF, SCF or RSCF."""
        if self.config.features == "nf":
            return torch.einsum("ki,nihw->nkhw", weight, features)
        if self.config.rearranged and maps is not None:
            return correlation.project_scf(weight, correlation.rearrange_cells(features, maps), features)
        return correlation.project_scf(weight, correlation.flatten_cells(features), features)

    def _read_projection(self, features: Tensor) -> tuple[Float[Tensor, "k i"], Float[Tensor, "k 1 1"]]:
        weight, bias = (part.to(features.dtype) for part in self.project.parameters())
        return weight.flatten(1), bias.view(-1, 1, 1)
