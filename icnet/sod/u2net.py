"""U2Net and U2NetP (Qin et al., Pattern Recognition 2020): a U of U-shaped blocks.

Keys are those of the authors' checkpoints. Resizing is bilinear with align_corners=False; pools round sizes up.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from icnet.sod import network, preprocessing
from icnet.sod.base import Method, Spec

FULL = {
    "stage1": (7, 3, 32, 64),
    "stage2": (6, 64, 32, 128),
    "stage3": (5, 128, 64, 256),
    "stage4": (4, 256, 128, 512),
    "stage5": (0, 512, 256, 512),
    "stage6": (0, 512, 256, 512),
    "stage5d": (0, 1024, 256, 512),
    "stage4d": (4, 1024, 128, 256),
    "stage3d": (5, 512, 64, 128),
    "stage2d": (6, 256, 32, 64),
    "stage1d": (7, 128, 16, 64),
}
"""Stage of U2Net -> depth (0: the flat block), channels in, inside and out."""

SMALL = {
    stage: (depth, 3 if stage == "stage1" else 128 if stage.endswith("d") else 64, 16, 64)
    for stage, (depth, *_) in FULL.items()
}
"""The same for U2NetP."""

FLAT = 4
"""Depth of the flat block, which dilates where the others pool."""


uses_gpu = network.uses_gpu


def make(spec: Spec, device: torch.device) -> Method:
    """Make U2Net or U2NetP at 320 x 320 px. Raises SodError if the checkpoint does not fit."""
    stages = SMALL if spec.kind == "u2netp" else FULL
    convention = network.Convention(
        prepare=partial(preprocessing.make_square_input, size=320, normalize=preprocessing.normalize_by_maximum),
        read=preprocessing.read_stretched,
    )
    return network.make(lambda state: U2Net(stages), convention, spec, device)


class U2Net(nn.Module):
    """Images [n, 3, h, w] to a probability [n, 1, h, w]."""

    def __init__(self, stages: dict[str, tuple[int, int, int, int]]) -> None:
        super().__init__()
        for name, (depth, inputs, inner, outputs) in stages.items():
            self.add_module(name, UBlock(depth or FLAT, inputs, inner, outputs, flat=not depth))
        for i in range(1, 7):
            source = stages[f"stage{i}d" if i < 6 else "stage6"]
            self.add_module(f"side{i}", nn.Conv2d(source[-1], 1, 3, padding=1))
        self.outconv = nn.Conv2d(6, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        encoded = [network.apply(self, "stage1", images)]
        for i in range(2, 7):
            encoded.append(network.apply(self, f"stage{i}", pool(encoded[-1])))
        decoded = [encoded.pop()]
        for i in range(5, 0, -1):
            skip = encoded.pop()
            joined = torch.cat([network.resize(decoded[-1], skip.shape[-2:]), skip], 1)
            decoded.append(network.apply(self, f"stage{i}d", joined))
        sides = [network.apply(self, f"side{i}", features) for i, features in enumerate(reversed(decoded), 1)]
        sides = [network.resize(side, images.shape[-2:]) for side in sides]
        return network.apply(self, "outconv", torch.cat(sides, 1)).sigmoid()


class UBlock(nn.Module):
    """Residual U-block: encodes by pooling (flat: by dilating), decodes, and adds its input."""

    def __init__(self, depth: int, inputs: int, inner: int, outputs: int, flat: bool) -> None:
        super().__init__()
        self.depth, self.flat = depth, flat
        self.rebnconvin = ConvBlock(inputs, outputs)
        for i in range(1, depth + 1):
            dilation = 2 ** (i - 1) if flat else 2 if i == depth else 1
            self.add_module(f"rebnconv{i}", ConvBlock(outputs if i == 1 else inner, inner, dilation))
        for i in range(depth - 1, 0, -1):
            dilation = 2 ** (i - 1) if flat else 1
            self.add_module(f"rebnconv{i}d", ConvBlock(2 * inner, outputs if i == 1 else inner, dilation))

    def forward(self, x: Tensor) -> Tensor:
        x = network.apply(self, "rebnconvin", x)
        encoded = [network.apply(self, "rebnconv1", x)]
        for i in range(2, self.depth + 1):
            pooled = encoded[-1] if self.flat or i == self.depth else pool(encoded[-1])
            encoded.append(network.apply(self, f"rebnconv{i}", pooled))
        y = encoded.pop()
        for i in range(self.depth - 1, 0, -1):
            skip = encoded.pop()
            y = network.apply(self, f"rebnconv{i}d", torch.cat([network.resize(y, skip.shape[-2:]), skip], 1))
        return y + x


class ConvBlock(nn.Module):
    """3 x 3 convolution, batch normalization, ReLU."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv_s1 = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation)
        self.bn_s1 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn_s1(self.conv_s1(x)))


def pool(x: Tensor) -> Tensor:
    """Halve the size, rounded up."""
    return F.max_pool2d(x, 2, 2, ceil_mode=True)
