"""VGG-16 without its classifier, and the convolutional sixth stage that replaces it (section 3.5)."""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from icnet.backbones.base import Backbone, Levels, copy_weights
from icnet.config import Config
from icnet.layers import ConvNorm, scale_channels

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of VGG-16's convolutions by stage; every stage after the first begins with a 2x2 max pooling."""

TOP_CHANNELS = 128
"""Channels of the sixth stage."""

COMPRESSED_CHANNELS = 256
"""Channels that stages 4 and 5 are compressed to."""

ENHANCED_CHANNELS = 128
"""Channels of the co-saliency features."""

DECODER_CHANNELS = 32
"""Channels in the decoder."""


class VGG16(Backbone):
    """Features of six stages, taken before the pooling that ends each (sections 3.5 and 4.1)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.ends: list[int] = []
        before = 3
        for stage in STAGES:
            if layers:
                layers.append(nn.MaxPool2d(2))
            for out in (scale_channels(channels, config.width) for channels in stage):
                layers += [nn.Conv2d(before, out, 3, padding=1), nn.ReLU(inplace=True)]
                before = out
            self.ends.append(len(layers))
        self.vgg = nn.Sequential(*layers)
        top = scale_channels(TOP_CHANNELS, config.width)
        self.top = nn.Sequential(
            nn.MaxPool2d(2),
            nn.Conv2d(before, top, 1),
            ConvNorm(top, top),
            nn.ReLU(inplace=True),
            ConvNorm(top, top),
            nn.ReLU(inplace=True),
            nn.Conv2d(top, top, 3, padding=1),
        )
        first, second, third, fourth, fifth = (scale_channels(stage[-1], config.width) for stage in STAGES)
        self.channels = (fourth, fifth, top)
        self.compressed = dict.fromkeys(("4", "5"), scale_channels(COMPRESSED_CHANNELS, config.width))
        self.sides = (config.size // 8, config.size // 16, config.size // 32)
        self.low_channels = (third, second, first)
        self.enhanced_channels = scale_channels(ENHANCED_CHANNELS, config.width)
        decoded = scale_channels(DECODER_CHANNELS, config.width)
        self.decoder_channels, self.widened_channels = (decoded,) * 4, (3 * decoded,) * 3

    @property
    def pretrained(self) -> nn.Module:
        """VGG-16's own layers: stages 1 to 5."""
        return self.vgg

    def forward(self, images: Float[Tensor, "n 3 s s"], low: bool = True) -> Levels:
        """Stages 4, 5, 6 and stages 3, 2, 1; stage k is [n, c, s / 2^(k-1), s / 2^(k-1)]."""
        stages, features = [], images
        for number, layer in enumerate(self.vgg, start=1):
            features = layer(features)
            if number in self.ends:
                stages.append(features)
        *below, fourth, fifth = stages
        return Levels([fourth, fifth, self.top(fifth)], below[::-1])

    def parts(self) -> dict[str, nn.Module]:
        """VGG-16's stages, conv1 to conv5, and the new sixth stage, top."""
        stages = zip([0, *self.ends], self.ends, strict=False)
        found: dict[str, nn.Module] = {f"conv{k}": self.vgg[start:end] for k, (start, end) in enumerate(stages, 1)}
        return found | {"top": self.top}

    def fill_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Copy weights with torchvision's keys. Raises ValueError where they do not fit."""
        copy_weights(nn.ModuleDict({"features": self.vgg}), state, "the state dict of torchvision's VGG-16")
