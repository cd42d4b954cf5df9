"""CPD with VGG-16 or ResNet-50 (Wu et al., CVPR 2019): the first branch's map is the attention of the second branch.

Keys are those of the authors' checkpoints, and show the backbone. Inside, resizing uses align_corners=True.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from icnet import images as image_files
from icnet.images import Pixels
from icnet.sod import network, preprocessing
from icnet.sod.base import Method, Spec
from icnet.torchvision_models import Bottleneck, ResNet

SIDE = 352


uses_gpu = network.uses_gpu


def make(spec: Spec, device: torch.device) -> Method:
    """Make CPD at 352 x 352 px, with the checkpoint's backbone. Raises SodError if the checkpoint does not fit."""
    convention = network.Convention(prepare=prepare, read=preprocessing.read_stretched_logit)
    return network.make(build, convention, spec, device)


def build(state: Mapping[str, Tensor]) -> nn.Module:
    """Build the variant that a state dict belongs to."""
    return CPDResNet() if any(key.startswith("resnet.") for key in state) else CPDVGG()


def prepare(image: Pixels) -> NDArray[np.float32]:
    """Return the input [3, 352, 352]: resized by PIL in 8 bits, then normalized by ImageNet's mean and deviation."""
    resized = image_files.resize(image, (SIDE, SIDE)).astype(np.float32) / np.float32(255)
    return np.ascontiguousarray(preprocessing.normalize_imagenet(resized).transpose(2, 0, 1))


class CPDVGG(nn.Module):
    """Images [n, 3, h, w], h and w multiples of 16, to saliency logits [n, 1, h, w]."""

    def __init__(self) -> None:
        super().__init__()
        trunk = {
            "conv1": make_vgg_block("conv1_{}", 3, 64, 2, pool=False),
            "conv2": make_vgg_block("conv2_{}", 64, 128, 2),
            "conv3": make_vgg_block("conv3_{}", 128, 256, 3),
        }
        for branch in (1, 2):
            trunk[f"conv4_{branch}"] = make_vgg_block(f"conv4_{{}}_{branch}", 256, 512, 3)
            trunk[f"conv5_{branch}"] = make_vgg_block(f"conv5_{{}}_{branch}", 512, 512, 3)
            for level, channels in ((3, 256), (4, 512), (5, 512)):
                self.add_module(f"rfb{level}_{branch}", ReceptiveFields(nn.Conv2d, channels))
            self.add_module(f"agg{branch}", Aggregation(nn.Conv2d))
        self.vgg = nn.ModuleDict(trunk)
        self.HA = HolisticAttention()

    def forward(self, images: Tensor) -> Tensor:
        shallow = images
        for block in ("conv1", "conv2", "conv3"):
            shallow = network.apply(self, f"vgg.{block}", shallow)
        attention = self._branch(1, shallow).sigmoid()
        return network.upsample(self._branch(2, self.HA(attention, shallow)), 4)

    def _branch(self, branch: int, shallow: Tensor) -> Tensor:
        middle = network.apply(self, f"vgg.conv4_{branch}", shallow)
        deep = network.apply(self, f"vgg.conv5_{branch}", middle)
        fields = [network.apply(self, f"rfb{i}_{branch}", x) for i, x in ((5, deep), (4, middle), (3, shallow))]
        return network.apply(self, f"agg{branch}", *fields)


class CPDResNet(nn.Module):
    """Images [n, 3, h, w], h and w multiples of 32, to saliency logits [n, 1, h, w]."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = SplitResNet()
        for branch in (1, 2):
            for level, channels in ((2, 512), (3, 1024), (4, 2048)):
                self.add_module(f"rfb{level}_{branch}", ReceptiveFields(ConvNorm, channels))
            self.add_module(f"agg{branch}", Aggregation(ConvNorm))
        self.HA = HolisticAttention()

    def forward(self, images: Tensor) -> Tensor:
        shallow = self.resnet(images)
        attention = self._branch(1, shallow).sigmoid()
        return network.upsample(self._branch(2, self.HA(attention, shallow)), 8, align_corners=True)

    def _branch(self, branch: int, shallow: Tensor) -> Tensor:
        middle = network.apply(self, f"resnet.layer3_{branch}", shallow)
        deep = network.apply(self, f"resnet.layer4_{branch}", middle)
        fields = [network.apply(self, f"rfb{i}_{branch}", x) for i, x in ((4, deep), (3, middle), (2, shallow))]
        return network.apply(self, f"agg{branch}", *fields)


class SplitResNet(ResNet):  # type: ignore[misc]
    """ResNet-50 up to layer 2 [n, 512, h/8, w/8], with two copies of layers 3 and 4, one for each branch."""

    def __init__(self) -> None:
        super().__init__(Bottleneck, [3, 4, 6, 3])
        second = ResNet(Bottleneck, [3, 4, 6, 3])
        self.layer3_1, self.layer4_1 = self.layer3, self.layer4
        self.layer3_2, self.layer4_2 = second.layer3, second.layer4
        del self.layer3, self.layer4, self.fc

    def forward(self, x: Tensor) -> Tensor:
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2"):
            x = network.apply(self, name, x)
        return x


class HolisticAttention(nn.Module):
    """Multiply features by the larger of the attention map and its blurred, min-max normalized copy."""

    def __init__(self) -> None:
        super().__init__()
        self.gaussian_kernel = nn.Parameter(torch.zeros(1, 1, 31, 31))

    def forward(self, attention: Tensor, features: Tensor) -> Tensor:
        blurred = F.conv2d(attention, self.gaussian_kernel, padding=15)
        low, high = blurred.amin((1, 2, 3), keepdim=True), blurred.amax((1, 2, 3), keepdim=True)
        return features * torch.maximum((blurred - low) / (high - low + 1e-8), attention)


class ReceptiveFields(nn.Module):
    """Features [n, c, h, w] to [n, 32, h, w], through receptive fields of four widths."""

    def __init__(self, conv: type[nn.Module], inputs: int) -> None:
        super().__init__()
        self.branch0 = nn.Sequential(conv(inputs, 32, 1))
        for i, k in enumerate((3, 5, 7), 1):
            wide = conv(32, 32, (1, k), padding=(0, k // 2))
            tall = conv(32, 32, (k, 1), padding=(k // 2, 0))
            far = conv(32, 32, 3, padding=k, dilation=k)
            self.add_module(f"branch{i}", nn.Sequential(conv(inputs, 32, 1), wide, tall, far))
        self.conv_cat = conv(128, 32, 3, padding=1)
        self.conv_res = conv(inputs, 32, 1)

    def forward(self, x: Tensor) -> Tensor:
        branches = torch.cat([network.apply(self, f"branch{i}", x) for i in range(4)], 1)
        return F.relu(network.apply(self, "conv_cat", branches) + network.apply(self, "conv_res", x))


class Aggregation(nn.Module):
    """Three levels [n, 32, ...], deepest first, each twice as large as the one before, to logits [n, 1, h, w]."""

    def __init__(self, conv: type[nn.Module]) -> None:
        super().__init__()
        for i in range(1, 5):
            self.add_module(f"conv_upsample{i}", conv(32, 32, 3, padding=1))
        self.conv_upsample5 = conv(64, 64, 3, padding=1)
        self.conv_concat2 = conv(64, 64, 3, padding=1)
        self.conv_concat3 = conv(96, 96, 3, padding=1)
        self.conv4 = conv(96, 96, 3, padding=1)
        self.conv5 = nn.Conv2d(96, 1, 1)

    def forward(self, deep: Tensor, middle: Tensor, shallow: Tensor) -> Tensor:
        deep2 = double(deep)
        middle_a = self._up(1, deep2) * middle
        shallow_a = self._up(2, double(deep2)) * self._up(3, double(middle)) * shallow
        middle_b = network.apply(self, "conv_concat2", torch.cat([middle_a, self._up(4, deep2)], 1))
        shallow_b = network.apply(self, "conv_concat3", torch.cat([shallow_a, self._up(5, double(middle_b))], 1))
        return network.apply(self, "conv5", network.apply(self, "conv4", shallow_b))

    def _up(self, number: int, features: Tensor) -> Tensor:
        return network.apply(self, f"conv_upsample{number}", features)


class ConvNorm(nn.Module):
    """Convolution without bias, batch normalization."""

    def __init__(self, inputs: int, outputs: int, kernel: int | tuple[int, int], **geometry: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, bias=False, **geometry)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return network.apply(self, "bn", self.conv(x))


def make_vgg_block(name: str, inputs: int, outputs: int, count: int, pool: bool = True) -> nn.Sequential:
    """Make the convolutions of one block of VGG, numbered from 1 in `name`, after an average pool."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(pool=nn.AvgPool2d(2)) if pool else OrderedDict()
    for i in range(1, count + 1):
        layers[name.format(i)] = nn.Conv2d(inputs if i == 1 else outputs, outputs, 3, padding=1)
        layers[f"relu{i}"] = nn.ReLU()
    return nn.Sequential(layers)


def double(x: Tensor) -> Tensor:
    """Double the size, corners aligned."""
    return network.upsample(x, 2, align_corners=True)
