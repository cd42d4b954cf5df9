"""The choices that make a network: size, Table 2's variants, and what paper and program settle differently."""

from dataclasses import dataclass
from typing import Literal

MIN_SIZE = 32
"""px; below it the sixth stage has no cell."""


@dataclass(frozen=True)
class Config:
    """A network; the defaults are the authors' program with a learned alpha. JSON-able, saved with the weights.

    Raises ValueError where the choices contradict each other.
    """

    size: int = 224
    """Side of the input, px. Part of the weights: an RSCF has as many channels as its map has cells."""
    width: float = 1.0
    """Multiplies the channels of every layer; other than 1 needs training from scratch."""
    features: Literal["scf", "nf"] = "scf"
    """Table 2: self-correlation or l2-normalized features."""
    fusion: Literal["cfm", "mean"] = "cfm"
    """Table 2: the correlation fusion module, or the SIVs' mean, tiled and concatenated."""
    sisms: bool = True
    """Table 2: False puts maps of ones in the place of the SISMs."""
    rearranged: bool = True
    """Table 2: channels of the SCF in the order of the CSA map."""
    alpha: Literal["learned", "one"] = "learned"
    """Equation 2: the paper learns alpha, the program has none."""
    summed: Literal["normalized", "raw"] = "normalized"
    """What the CFM sums: the program the l2-normalized correlation maps, the paper the raw ones."""
    output: Literal["finest", "mean"] = "finest"
    """The co-saliency map: the decoder's finest map, or the mean of the four that training supervises."""
    init: Literal["program", "paper", "he", "whitened", "delta"] = "program"
    """New layers: N(0, 0.01), N(0, 0.1), or He's. `whitened` is He's with stages 4 and 5 compressed to principal
    components of what the loaded VGG-16 sees in the training images. The VGG-16 part is He's too, until weights are
    loaded; with `delta` it is orthogonal and local (Xiao et al., ICML 2018), to tell colors and textures apart
    untrained."""

    def __post_init__(self) -> None:
        if self.size < MIN_SIZE:
            raise ValueError(f"size must be at least {MIN_SIZE} px, got {self.size}")
        if not 0 < self.width <= 4:
            raise ValueError(f"width must be in (0, 4], got {self.width}")
        if self.rearranged and (self.features, self.fusion) != ("scf", "cfm"):
            raise ValueError("rearranged needs features scf and fusion cfm: there is no CSA map to order SCFs by")

    @classmethod
    def row(cls, number: int, **others: object) -> "Config":
        """The variant in row 1 to 7 of Table 2."""
        features = "nf" if number <= 3 else "scf"
        fusion = "mean" if number in (1, 4) else "cfm"
        return cls(features=features, fusion=fusion, sisms=number in (3, 6, 7), rearranged=number == 7, **others)

    def sides(self) -> dict[int, int]:
        """Cells along a side of the co-saliency block at stages 4, 5, 6."""
        return {stage: self.size // 2 ** (stage - 1) for stage in (4, 5, 6)}
