"""What the network needs of a backbone. A new backbone is one file here and one line in `icnet.backbones`.

Legend: n images, c channels, h x w cells, s px.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Levels(NamedTuple):
    """Feature maps of n images, [n, c, h, w] each, not normalized."""

    high: list[Tensor]
    """At the three depths that have a co-saliency block, shallow to deep: stages 4, 5, 6 in the paper."""
    low: list[Tensor]
    """At the three levels that the decoder refines its maps with, coarse to fine: stages 3, 2, 1 in the paper."""


class Backbone(nn.Module, ABC):
    """The interface of a backbone. Its attributes describe the maps in `Levels` and the layers that follow."""

    channels: tuple[int, int, int]
    """Channels of `Levels.high`."""
    sides: tuple[int, int, int]
    """Cells along a side of `Levels.high`."""
    compressed: Mapping[str, int]
    """Channels after the 1x1 compression in front of the blocks, by stage; a stage that is absent has none."""
    low_channels: tuple[int, int, int]
    """Channels of `Levels.low`."""
    enhanced_channels: int
    """Channels of the co-saliency features."""
    decoder_channels: tuple[int, int, int, int]
    """Channels in the decoder at the coarsest map and at each low level."""
    widened_channels: tuple[int, int, int]
    """Channels between the two convolutions of each stage of the decoder."""
    frozen = False
    """Whether `Levels.high` never changes in training: it can be stored then, and `build_low` gives the rest."""

    @property
    @abstractmethod
    def pretrained(self) -> nn.Module:
        """The part that pretrained weights fill; all other layers are new."""

    @abstractmethod
    def forward(self, images: Float[Tensor, "n 3 s s"], low: bool = True) -> Levels:
        """The levels of `images`; without `low`, a backbone may leave the low levels out."""

    def build_low(self, images: Float[Tensor, "n 3 s s"]) -> list[Tensor]:
        """`Levels.low` alone."""
        levels: Levels = self(images)
        return levels.low

    @abstractmethod
    def parts(self) -> dict[str, nn.Module]:
        """The parts that can be frozen, by name."""

    @abstractmethod
    def fill_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Copy pretrained weights from a published state dict. Raises ValueError where they do not fit."""


def copy_weights(module: nn.Module, state: Mapping[str, Tensor], expected: str) -> None:
    """Copy `state` into a module, which keeps its dtype; entries that the module does not have are ignored.

    Raises ValueError where an entry is missing, of another shape or not finite; `expected` describes a right `state`.
    """
    wanted = module.state_dict()
    for key, tensor in wanted.items():
        if key not in state:
            raise ValueError(f"there is no `{key}`: expected {expected}")
        if state[key].shape != tensor.shape:
            found, needed = tuple(state[key].shape), tuple(tensor.shape)
            raise ValueError(f"`{key}` is {found}, the model's is {needed}: pretrained weights need width 1")
        if not torch.isfinite(state[key]).all():
            raise ValueError(f"`{key}` holds NaN or infinite values")
    module.load_state_dict({key: state[key].to(tensor.dtype) for key, tensor in wanted.items()})
