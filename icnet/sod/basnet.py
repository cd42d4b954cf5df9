"""BASNet with ResNet-34 (Qin et al., CVPR 2019): predicts a map, then refines it.

Keys are those of the authors' checkpoint. Resizing is bilinear with align_corners=False; pools round sizes up.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from icnet.sod import network, preprocessing
from icnet.sod.base import Method, Spec
from icnet.torchvision_models import BasicBlock, ResNet

DECODER = {
    "6": (1024, 512, 512),
    "5": (1024, 512, 512),
    "4": (1024, 512, 256),
    "3": (512, 256, 128),
    "2": (256, 128, 64),
    "1": (128, 64, 64),
}
"""Stage of the decoder -> channels in, inside and out."""


uses_gpu = network.uses_gpu


def make(spec: Spec, device: torch.device) -> Method:
    """Make BASNet at 256 x 256 px. Raises SodError if the checkpoint does not fit."""
    convention = network.Convention(
        prepare=partial(preprocessing.make_square_input, size=256, normalize=preprocessing.normalize_by_maximum),
        read=preprocessing.read_stretched,
    )
    return network.make(lambda state: BASNet(), convention, spec, device)


class BASNet(nn.Module):
    """Images [n, 3, h, w], h and w multiples of 32, to a probability [n, 1, h, w]."""

    UNUSED = ("outconvb.", *(f"outconv{i}." for i in range(2, 7)))
    """Prefixes of keys in the checkpoint that only training needs."""

    def __init__(self) -> None:
        super().__init__()
        resnet = ResNet(BasicBlock, [3, 4, 6, 3])
        self.inconv, self.inbn = nn.Conv2d(3, 64, 3, padding=1), nn.BatchNorm2d(64)
        self.encoder1, self.encoder2 = resnet.layer1, resnet.layer2
        self.encoder3, self.encoder4 = resnet.layer3, resnet.layer4
        for stage in "56":
            for i in "123":
                self.add_module(f"resb{stage}_{i}", BasicBlock(512, 512))
        add_step(self, "bg_1", 512, 512, dilation=2)
        add_step(self, "bg_m", 512, 512, dilation=2)
        add_step(self, "bg_2", 512, 512, dilation=2)
        for stage, (inputs, inner, outputs) in DECODER.items():
            dilation = 2 if stage == "6" else 1
            add_step(self, f"{stage}d_1", inputs, inner)
            add_step(self, f"{stage}d_m", inner, inner, dilation)
            add_step(self, f"{stage}d_2", inner, outputs, dilation)
        self.outconv1 = nn.Conv2d(64, 1, 3, padding=1)
        self.refunet = Refinement()

    def forward(self, images: Tensor) -> Tensor:
        encoded = self.encode(images)
        x = encoded[-1]
        for name in ("bg_1", "bg_m", "bg_2"):
            x = apply_step(self, name, x)
        for stage in DECODER:
            skip = encoded.pop()
            x = x if stage == "6" else network.upsample(x, 2)
            x = torch.cat([x, skip], 1)
            for part in "1m2":
                x = apply_step(self, f"{stage}d_{part}", x)
        return network.apply(self, "refunet", self.outconv1(x)).sigmoid()

    def encode(self, images: Tensor) -> list[Tensor]:
        """Return the features of six stages, from full size to 1/32."""
        x = F.relu(self.inbn(self.inconv(images)))
        encoded = []
        for i in range(1, 5):
            x = network.apply(self, f"encoder{i}", x)
            encoded.append(x)
        for stage in "56":
            x = pool(x)
            for number in "123":
                x = network.apply(self, f"resb{stage}_{number}", x)
            encoded.append(x)
        return encoded


class Refinement(nn.Module):
    """A small U-shaped network on logits [n, 1, h, w]; its output is added to them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0, self.conv_d0 = nn.Conv2d(1, 64, 3, padding=1), nn.Conv2d(64, 1, 3, padding=1)
        for i in range(1, 6):
            add_step(self, str(i), 64, 64)
        for i in range(1, 5):
            add_step(self, f"_d{i}", 128, 64)

    def forward(self, logits: Tensor) -> Tensor:
        x, encoded = self.conv0(logits), []
        for i in "1234":
            encoded.append(apply_step(self, i, x))
            x = pool(encoded[-1])
        x = apply_step(self, "5", x)
        for i in "4321":
            x = apply_step(self, f"_d{i}", torch.cat([network.upsample(x, 2), encoded.pop()], 1))
        return logits + network.apply(self, "conv_d0", x)


def add_step(module: nn.Module, name: str, inputs: int, outputs: int, dilation: int = 1) -> None:
    """Add a 3 x 3 convolution conv<name> and its batch normalization bn<name> to the module."""
    module.add_module(f"conv{name}", nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation))
    module.add_module(f"bn{name}", nn.BatchNorm2d(outputs))


def apply_step(module: nn.Module, name: str, x: Tensor) -> Tensor:
    """Apply the convolution and batch normalization of that name, then ReLU."""
    return F.relu(network.apply(module, f"bn{name}", network.apply(module, f"conv{name}", x)))


def pool(x: Tensor) -> Tensor:
    """Halve the size, rounded up."""
    return F.max_pool2d(x, 2, 2, ceil_mode=True)
