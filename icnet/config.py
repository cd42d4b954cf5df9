"""The options of a network: its size, the variants of Table 2, and where the paper and the authors' program differ."""

from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

BackboneName = Literal["vgg16", "dinov2_vits14"]
"""The backbones; `icnet.backbones` makes them."""
PATCH_SIZE = 14
"""px of a patch of the vision transformer."""
NUM_BLOCKS = 12
"""Blocks of the vision transformer."""
MAX_OBJECT_MAPS = 512
MIN_SIZE = 32
"""px; a smaller input leaves the sixth stage without a cell."""


@dataclass(frozen=True)
class Config:
    """The options of a network, saved with its weights. The defaults are the authors' program with a learned alpha.

    Raises ValueError where a value is out of range or two options exclude each other.
    """

    backbone: BackboneName = "vgg16"
    """The pretrained network below the co-saliency blocks: the paper's VGG-16, or a frozen DINOv2 ViT-S/14."""
    size: int = 224
    """Side of the input, px; with dinov2_vits14 a multiple of 14. Weights belong to one size: an RSCF has as many
    channels as its map has cells."""
    width: float = 1.0
    """Factor of the channels of every layer; pretrained weights need 1."""
    depths: tuple[int, int, int] = (8, 10, 12)
    """dinov2_vits14: the transformer blocks whose tokens the co-saliency blocks get, numbered from 1."""
    looks: int = 1
    """How often the group is compared, 1 to 3. From the second look on, SIVs are pooled from the coarsest map of the
    look before, no longer from the SISMs."""
    features: Literal["scf", "nf"] = "scf"
    """Table 2: self-correlation features, or l2-normalized features."""
    fusion: Literal["cfm", "mean"] = "cfm"
    """Table 2: the correlation fusion module, or the mean SIV of the group, tiled and concatenated."""
    sisms: bool = True
    """Table 2: with False, maps of ones replace the SISMs."""
    rearranged: bool = True
    """Table 2: sort the channels of the SCF by the CSA map."""
    similarity_maps: bool = False
    """Give the blocks, beside the features, the CSA maps and the similarity of each cell to two SIVs: the mean SIV of
    the group, and the one that the image's own SISM gives."""
    residual_maps: bool = False
    """Let every finer map of the decoder be a correction of the coarser one: the logits are added."""
    object_maps: int = 0
    """So many maps of the features themselves are added to the co-saliency features (`icnet.object_maps`)."""
    alpha: Literal["learned", "one"] = "learned"
    """Equation 2: alpha is learned in the paper; the program has none, which is 1."""
    cfm_sum: Literal["normalized", "raw"] = "normalized"
    """The CFM sums l2-normalized correlation maps, as the program does, or raw ones, as the paper does."""
    output: Literal["finest", "mean"] = "finest"
    """The co-saliency map: the finest map of the decoder, or the mean of its four maps."""
    sharpness: float = 1.0
    """Factor of the logits of the co-saliency map, not of the maps that are supervised: above 1, soft maps become
    harder, and pixels stay in the same order."""
    init: Literal["program", "paper", "he", "whitened", "delta"] = "program"
    """Weights of new layers: N(0, 0.01), N(0, 0.1) or He's. `whitened` and `delta` are He's, and the compressions in
    front of the blocks are principal components of the backbone's features of the training images (with `delta` only
    where the backbone is random). The backbone is He's until pretrained weights are loaded; with `delta` it is
    orthogonal and local, which tells colors and textures apart without training."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "depths", tuple(self.depths))  # JSON and YAML have lists
        choices = {name: kind for name, kind in get_type_hints(Config).items() if get_origin(kind) is Literal}
        del choices["backbone"]  # make_backbone knows them
        for name, kind in choices.items():
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}, got {getattr(self, name)!r}")
        if self.backbone == "dinov2_vits14":
            self._check_transformer()
        elif self.depths != (8, 10, 12):
            raise ValueError(f"depths needs backbone dinov2_vits14, got {self.backbone}")
        if self.looks not in (1, 2, 3):
            raise ValueError(f"looks must be 1, 2 or 3, got {self.looks}")
        if self.size < MIN_SIZE:
            raise ValueError(f"size must be at least {MIN_SIZE} px, got {self.size}")
        if not 0 < self.width <= 4:
            raise ValueError(f"width must be in (0, 4], got {self.width}")
        if not 0 <= self.object_maps <= MAX_OBJECT_MAPS:
            raise ValueError(f"object_maps must be from 0 to {MAX_OBJECT_MAPS}, got {self.object_maps}")
        if not 0 < self.sharpness <= 10:
            raise ValueError(f"sharpness must be in (0, 10], got {self.sharpness}")
        if self.similarity_maps and self.fusion != "cfm":
            raise ValueError("similarity_maps needs fusion cfm: without it there is no CSA map")
        if self.rearranged and (self.features, self.fusion) != ("scf", "cfm"):
            raise ValueError("rearranged needs features scf and fusion cfm: without them there is nothing to sort")

    def _check_transformer(self) -> None:
        if self.size % PATCH_SIZE:
            raise ValueError(f"size must be a multiple of {PATCH_SIZE} px with {self.backbone}, got {self.size}")
        rising = len(self.depths) == 3 and list(self.depths) == sorted(set(self.depths))
        if not rising or not 1 <= self.depths[0] <= self.depths[-1] <= NUM_BLOCKS:
            found = ", ".join(map(str, self.depths))
            raise ValueError(f"depths must be three rising numbers from 1 to {NUM_BLOCKS}, got {found}")
        if self.init == "delta":
            raise ValueError(f"init delta needs backbone vgg16, got {self.backbone}")

    @classmethod
    def row(cls, number: int, **others: Any) -> "Config":
        """The variant in a row, 1 to 7, of Table 2; `others` are further options."""
        return cls(
            features="nf" if number <= 3 else "scf",
            fusion="mean" if number in (1, 4) else "cfm",
            sisms=number in (3, 6, 7),
            rearranged=number == 7,
            **others,
        )
