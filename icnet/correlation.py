"""Intra and inter cues of a group as pure functions: equations 1 and 2 and section 3.4.

Legend: n images at hand, m SIVs of their group, c channels, h x w cells, p = h * w. Features are l2-normalized over
their channels. Nothing here builds correlation maps of m x p for every image at once, or anything of m x m: what is
linear in a correlation map is applied to the SIVs first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

EPSILON = 1e-12
MAX_CORRELATIONS = 1 << 23
"""Correlations held at a time where their norms are taken: 32 MiB in float32."""


@dataclass(frozen=True)
class Cues:
    """The intra cues of a group: for each co-saliency block its SIVs [m, 2, c], foreground and background."""

    sivs: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.sivs[0])

    @classmethod
    def merge(cls, parts: Sequence["Cues"]) -> "Cues":
        """The cues of a group from the cues of its parts."""
        return cls(tuple(torch.cat(block) for block in zip(*(part.sivs for part in parts), strict=True)))

    def split(self, sizes: Sequence[int]) -> list["Cues"]:
        """What `merge` would join: the cues of the first sizes[0] images, of the next sizes[1], and so on."""
        return [Cues(blocks) for blocks in zip(*(block.split(list(sizes)) for block in self.sivs), strict=True)]

    def to(self, device: torch.device | str) -> "Cues":
        """The same cues on another device."""
        return Cues(tuple(block.to(device) for block in self.sivs))


def l2_normalize(vectors: Float[Tensor, "..."], dim: int) -> Float[Tensor, "..."]:
    """`vectors` scaled to length 1 along `dim`; zero vectors stay zero and get no gradient."""
    return vectors * _invert_norms(torch.linalg.vector_norm(vectors, dim=dim, keepdim=True))


def nmap(features: Float[Tensor, "n c h w"], sisms: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n c"]:
    """SIVs of length 1 by normalized masked average pooling, equation 1."""
    pooled = torch.bmm(sisms.flatten(2), flatten_cells(features)).squeeze(1) / sisms[0].numel()
    return l2_normalize(pooled, dim=1)


def compute_csa(
    features: Float[Tensor, "n c h w"],
    sivs: Float[Tensor, "m c"],
    alpha: Float[Tensor, ""] | float = 1.0,
    raw: bool = False,
) -> tuple[Float[Tensor, "n 1 h w"], Float[Tensor, "n m"]]:
    """CSA maps in [0, 1] and the weights of the SIVs in them (rows sum to 1), equation 2.

    The weighted sum is over the l2-normalized correlation maps, as released, or the `raw` ones, as printed.
    """
    grid = flatten_cells(features)
    scale = _invert_norms(_compute_norms(grid, sivs))
    total = torch.einsum("npc,nc->np", grid, scale @ sivs)
    agreement = torch.einsum("npc,np->nc", grid, total) @ sivs.T * scale
    weights = torch.softmax(alpha * agreement, dim=1)
    mixed = (weights if raw else weights * scale) @ sivs
    maps = torch.einsum("npc,nc->np", grid, mixed)
    low, high = maps.aminmax(dim=1, keepdim=True)
    maps = (maps - low) / (high - low + EPSILON)
    return maps.unflatten(1, features.shape[2:]).unsqueeze(1), weights


def compute_scf(features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n p h w"]:
    """Self-correlation features: channel z is every cell's correlation with cell z."""
    return _correlate(flatten_cells(features), features)


def compute_rscf(features: Float[Tensor, "n c h w"], maps: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n p h w"]:
    """The SCF with its channels in the order of the CSA `maps`, highest first."""
    return _correlate(rearrange_cells(features, maps), features)


def project_scf(
    weight: Float[Tensor, "k p"], factor: Float[Tensor, "n p c"], features: Float[Tensor, "n c h w"]
) -> Float[Tensor, "n k h w"]:
    """A 1x1 convolution of the self-correlations of `factor` with `features`, without building them.

    Equal to convolving `scf(features)` where factor = cells(features), and `rscf` where it is rearranged.
    """
    return _correlate(torch.matmul(weight, factor), features)


def flatten_cells(features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n p c"]:
    """The cells as a list of vectors; a view where the channels lie last in memory."""
    return features.flatten(2).transpose(1, 2)


def rearrange_cells(features: Float[Tensor, "n c h w"], maps: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n p c"]:
    """The cells in the order of the CSA `maps`, highest first."""
    order = rank_cells(maps).unsqueeze(2).expand(-1, -1, features.shape[1])
    return flatten_cells(features).gather(1, order)


def rank_cells(maps: Float[Tensor, "n 1 h w"]) -> Int[Tensor, "n p"]:
    """The cells' numbers from the highest to the lowest value; equals keep their order."""
    return maps.flatten(1).argsort(dim=1, descending=True, stable=True)


def _correlate(vectors: Float[Tensor, "n k c"], features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h w"]:
    products = torch.bmm(flatten_cells(features), vectors.transpose(1, 2))
    return products.transpose(1, 2).unflatten(2, features.shape[2:])


def _compute_norms(grid: Float[Tensor, "n p c"], sivs: Float[Tensor, "m c"]) -> Float[Tensor, "n m"]:
    n, p, c = grid.shape
    if not grid.requires_grad and len(sivs) * c + p * c < len(sivs) * p:
        return _compute_norms_by_products(grid, sivs)
    step = max(1, MAX_CORRELATIONS // (n * p))
    columns = grid.transpose(1, 2)
    parts = [torch.linalg.vector_norm(torch.matmul(part, columns), dim=2) for part in sivs.split(step)]
    return torch.cat(parts, dim=1)


def _compute_norms_by_products(grid: Float[Tensor, "n p c"], sivs: Float[Tensor, "m c"]) -> Float[Tensor, "n m"]:
    """The same norms from the channels' products [n, c, c], p / c times cheaper for very many SIVs."""
    products = torch.bmm(grid.transpose(1, 2), grid)
    step = max(1, MAX_CORRELATIONS // (grid.shape[0] * grid.shape[2]))
    parts = [torch.einsum("nmc,mc->nm", torch.matmul(part, products), part) for part in sivs.split(step)]
    return torch.cat(parts, dim=1).clamp_min(0).sqrt()


def _invert_norms(norms: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    present = norms > EPSILON
    return torch.where(present, 1 / torch.where(present, norms, 1), 0)
