"""DINOv2's ViT-S/14 (Oquab et al., 2023), frozen, beside a convolution stem that gives the decoder its low levels.

Legend: n images, c channels of a token, h x w patches of 14 px, t = 1 + h * w tokens, the class token first.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from icnet.backbones.base import Backbone, Levels, copy_weights
from icnet.backbones.vit import VisionTransformer, rename_huggingface
from icnet.config import PATCH_SIZE, Config
from icnet.layers import ConvNorm, scale_channels

NUM_HEADS = 6
"""Attention heads of ViT-S, of 64 channels each."""
STEM_CHANNELS = (12, 24, 48)
"""Channels of the stem at strides 2, 4 and 8."""
ENHANCED_CHANNELS = 48
"""Channels of the co-saliency features."""
DECODER_CHANNELS = (32, 32, 16, 16)
"""Channels in the decoder on the grid of patches and at strides 8, 4 and 2."""
WIDENED_CHANNELS = (64, 32, 16)
"""Channels between the two convolutions of each stage of the decoder."""


class DINOv2(Backbone):
    """Tokens after three blocks of the transformer, all on the grid of patches; low levels at strides 8, 4 and 2.

    Blocks after the deepest one that `Config.depths` names are left out. The transformer is frozen, and so are the
    compressions of its tokens: linear maps that keep the number of channels.
    """

    frozen = True

    def __init__(self, config: Config) -> None:
        super().__init__()
        heads = max(1, round(NUM_HEADS * config.width))
        self.depths = config.depths
        self.vit = VisionTransformer(heads, max(config.depths)).requires_grad_(False)
        first, second, third = (scale_channels(channels, config.width, step=4) for channels in STEM_CHANNELS)
        self.stem = Stem((first, second, third))
        self.channels = (self.vit.channels,) * 3
        self.sides = (config.size // PATCH_SIZE,) * 3
        self.compressed = dict.fromkeys(("4", "5", "6"), self.vit.channels)
        self.low_channels = (third, second, first)
        self.enhanced_channels = scale_channels(ENHANCED_CHANNELS, config.width)
        coarsest, *finer = (scale_channels(channels, config.width) for channels in DECODER_CHANNELS)
        self.decoder_channels = (coarsest, finer[0], finer[1], finer[2])
        widened = [scale_channels(channels, config.width) for channels in WIDENED_CHANNELS]
        self.widened_channels = (widened[0], widened[1], widened[2])

    @property
    def pretrained(self) -> nn.Module:
        """The transformer."""
        return self.vit

    def forward(self, images: Float[Tensor, "n 3 s s"], low: bool = True) -> Levels:
        """Tokens [n, c, h, w] of the three depths, and the stem's levels where `low` is wanted."""
        return Levels(self.vit(images, self.depths), self.build_low(images) if low else [])

    def build_low(self, images: Float[Tensor, "n 3 s s"]) -> list[Tensor]:
        """The stem's levels at strides 8, 4 and 2."""
        levels: list[Tensor] = self.stem(images)
        return levels[::-1]

    def parts(self) -> dict[str, nn.Module]:
        """The transformer, vit, and the stem."""
        return {"vit": self.vit, "stem": self.stem}

    def fill_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Copy DINOv2's weights, with the names of the official checkpoint or of Hugging Face, in half precision.

        Checkpoints hold them in half precision, so they are rounded here. Raises ValueError where they do not fit.
        """
        copy_weights(self.vit, rename_huggingface(state), "the weights of DINOv2 ViT-S/14")
        with torch.no_grad():
            for parameter in self.vit.parameters():
                parameter.copy_(parameter.half())


class Stem(nn.Module):
    """Convolutions at strides 2, 4 and 8, of `channels` each."""

    def __init__(self, channels: tuple[int, int, int]) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        before = 3
        for out in channels:
            layers = [ConvNorm(before, out, stride=2), nn.ReLU(inplace=True), ConvNorm(out, out), nn.ReLU(inplace=True)]
            self.levels.append(nn.Sequential(*layers))
            before = out

    def forward(self, images: Float[Tensor, "n 3 s s"]) -> list[Tensor]:
        """The three levels, fine to coarse."""
        levels, features = [], images
        for level in self.levels:
            features = level(features)
            levels.append(features)
        return levels
