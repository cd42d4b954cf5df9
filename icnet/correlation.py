"""The correlations of a group as pure functions: equations 1 and 2 and section 3.4.

Legend: n images, m SIVs of their group, c channels, h x w cells, p = h * w. Features are l2-normalized over their
channels. Large groups need little memory: linear operations on correlation maps are applied to the SIVs instead, so
no tensor of n x m x p or m x m values is built.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

EPSILON = 1e-12
MAX_CORRELATIONS = 1 << 23
"""How many correlations are in memory while their norms are computed: 32 MiB in float32."""


@dataclass(frozen=True)
class Cues:
    """The intra cues of a group: for each co-saliency block the SIVs [m, 2, c] of foreground and background."""

    sivs: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.sivs[0])

    @classmethod
    def merge(cls, parts: Sequence["Cues"]) -> "Cues":
        """Join the cues of a group's parts, in the order of the parts."""
        return cls(tuple(torch.cat(block) for block in zip(*(part.sivs for part in parts), strict=True)))

    def split(self, sizes: Sequence[int]) -> list["Cues"]:
        """Split into the cues of the first sizes[0] images, of the next sizes[1], and so on: the reverse of `merge`."""
        return [Cues(blocks) for blocks in zip(*(torch.split(block, list(sizes)) for block in self.sivs), strict=True)]

    def to(self, device: torch.device | str) -> "Cues":
        """Copy the cues to a device."""
        return Cues(tuple(block.to(device) for block in self.sivs))


def l2_normalize(vectors: Float[Tensor, "..."], dim: int) -> Float[Tensor, "..."]:
    """Scale `vectors` to length 1 along `dim`; zero vectors stay zero and get no gradient."""
    return vectors * _invert_norms(torch.linalg.vector_norm(vectors, dim=dim, keepdim=True))


def nmap(features: Float[Tensor, "n c h w"], sisms: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n c"]:
    """SIVs of length 1 by normalized masked average pooling (equation 1)."""
    pooled = torch.bmm(sisms.flatten(2), flatten_cells(features)).squeeze(1) / sisms[0].numel()
    return l2_normalize(pooled, dim=1)


def compute_csa(
    features: Float[Tensor, "n c h w"],
    sivs: Float[Tensor, "m c"],
    alpha: Float[Tensor, ""] | float = 1.0,
    raw: bool = False,
) -> tuple[Float[Tensor, "n 1 h w"], Float[Tensor, "n m"]]:
    """CSA maps in [0, 1] and the weights of the SIVs in them, whose rows sum to 1 (equation 2).

    The weighted sum is over the l2-normalized correlation maps, as in the authors' program. With `raw` it is over the
    correlation maps themselves, as in the paper.
    """
    cells = flatten_cells(features)
    scale = _invert_norms(_compute_norms(cells, sivs))
    total = torch.einsum("npc,nc->np", cells, scale @ sivs)
    agreement = torch.einsum("npc,np->nc", cells, total) @ sivs.T * scale
    weights = torch.softmax(alpha * agreement, dim=1)
    mixed = (weights if raw else weights * scale) @ sivs
    maps = torch.einsum("npc,nc->np", cells, mixed)
    low, high = maps.aminmax(dim=1, keepdim=True)
    maps = (maps - low) / (high - low + EPSILON)
    return maps.view(features.shape[0], 1, *features.shape[2:]), weights


def correlate_siv(features: Float[Tensor, "n c h w"], sivs: Float[Tensor, "n c"]) -> Float[Tensor, "n 1 h w"]:
    """The correlation of every cell of an image with one SIV, in [-1, 1]."""
    return torch.einsum("nchw,nc->nhw", features, sivs).unsqueeze(1)


def compute_scf(features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n p h w"]:
    """Self-correlation features: channel z holds the correlation of every cell with cell z (section 3.4)."""
    return _correlate(flatten_cells(features), features)


def compute_rscf(features: Float[Tensor, "n c h w"], maps: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n p h w"]:
    """The SCF with its channels sorted by the CSA `maps`, highest first (section 3.4)."""
    return _correlate(rearrange_cells(features, maps), features)


def project_scf(
    weight: Float[Tensor, "k p"], factor: Float[Tensor, "n p c"], features: Float[Tensor, "n c h w"]
) -> Float[Tensor, "n k h w"]:
    """Apply a 1x1 convolution to the correlations of `factor` with `features`, without building them.

    With factor = flatten_cells(features) this convolves the SCF, with factor = rearrange_cells(features, maps) the
    RSCF.
    """
    return _correlate(torch.matmul(weight, factor), features)


def flatten_cells(features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n p c"]:
    """The cells as a list of vectors; a view for channels-last tensors."""
    return features.flatten(2).transpose(1, 2)


def rearrange_cells(features: Float[Tensor, "n c h w"], maps: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n p c"]:
    """The cells sorted by the CSA `maps`, highest first."""
    order = rank_cells(maps).unsqueeze(2).expand(-1, -1, features.shape[1])
    return flatten_cells(features).gather(1, order)


def rank_cells(maps: Float[Tensor, "n 1 h w"]) -> Int[Tensor, "n p"]:
    """Indices of the cells from the highest to the lowest value; ties keep their order."""
    return maps.flatten(1).argsort(dim=1, descending=True, stable=True)


def _correlate(vectors: Float[Tensor, "n k c"], features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h w"]:
    products = torch.bmm(flatten_cells(features), vectors.transpose(1, 2))
    return products.transpose(1, 2).reshape(features.shape[0], -1, *features.shape[2:])


def _compute_norms(cells: Float[Tensor, "n p c"], sivs: Float[Tensor, "m c"]) -> Float[Tensor, "n m"]:
    n, p, c = cells.shape
    if torch.compiler.is_exporting():  # one graph serves any number of images: nothing may depend on their number
        return torch.einsum("mc,ncd,md->nm", sivs, torch.bmm(cells.transpose(1, 2), cells), sivs).clamp_min(0).sqrt()
    if not cells.requires_grad and len(sivs) * c + p * c < len(sivs) * p:
        return _compute_norms_by_products(cells, sivs)
    step = max(1, MAX_CORRELATIONS // (n * p))
    columns = cells.transpose(1, 2)
    parts = [torch.linalg.vector_norm(torch.matmul(part, columns), dim=2) for part in torch.split(sivs, step)]
    return torch.cat(parts, dim=1)


def _compute_norms_by_products(cells: Float[Tensor, "n p c"], sivs: Float[Tensor, "m c"]) -> Float[Tensor, "n m"]:
    """The same norms from products of channels [n, c, c]: p / c times cheaper for very many SIVs."""
    products = torch.bmm(cells.transpose(1, 2), cells)
    step = max(1, MAX_CORRELATIONS // (cells.shape[0] * cells.shape[2]))
    parts = [torch.einsum("nmc,mc->nm", torch.matmul(part, products), part) for part in torch.split(sivs, step)]
    return torch.cat(parts, dim=1).clamp_min(0).sqrt()


def _invert_norms(norms: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    positive = norms > EPSILON
    return torch.where(positive, 1 / torch.where(positive, norms, 1), 0)
