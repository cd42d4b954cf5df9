"""The backbone: VGG-16 without its classifier, and the convolutional sixth stage that stands in its place."""

from jaxtyping import Float
from torch import Tensor, nn

from icnet.layers import ConvNorm, scale_channels

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of VGG-16's convolutions; each stage after the first begins with a 2x2 max pool."""

TOP = 128
"""Channels of the sixth stage."""


class VGG16(nn.Module):
    """Features of six stages, each taken before the pooling that ends it (sections 3.5 and 4.1)."""

    def __init__(self, width: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.ends: list[int] = []
        self.channels = [scale_channels(stage[-1], width) for stage in STAGES]
        before = 3
        for stage in STAGES:
            if layers:
                layers.append(nn.MaxPool2d(2))
            for out in (scale_channels(channels, width) for channels in stage):
                layers += [nn.Conv2d(before, out, 3, padding=1), nn.ReLU(inplace=True)]
                before = out
            self.ends.append(len(layers))
        self.vgg = nn.Sequential(*layers)
        top = scale_channels(TOP, width)
        self.top = nn.Sequential(
            nn.MaxPool2d(2),
            nn.Conv2d(before, top, 1),
            ConvNorm(top, top),
            nn.ReLU(inplace=True),
            ConvNorm(top, top),
            nn.ReLU(inplace=True),
            nn.Conv2d(top, top, 3, padding=1),
        )

    def stages(self) -> dict[str, nn.Sequential]:
        """VGG-16's layers by stage: conv1 to conv5."""
        cuts = zip([0, *self.ends], self.ends, strict=False)
        return {f"conv{number}": self.vgg[start:end] for number, (start, end) in enumerate(cuts, start=1)}

    def forward(self, images: Float[Tensor, "n 3 s s"]) -> list[Tensor]:
        """Six maps of features [n, c, s / 2^k, s / 2^k], k = 0 to 5, finest first."""
        stages, features = [], images
        for number, layer in enumerate(self.vgg, start=1):
            features = layer(features)
            if number in self.ends:
                stages.append(features)
        return [*stages, self.top(features)]
