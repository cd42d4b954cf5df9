"""CPD with VGG-16 or ResNet-50 (Wu et al., CVPR 2019): a first map attends what a second branch sees.

Keys are the authors', and tell the backbone. Inside, resizing is bilinear with align_corners=True.
"""

from collections import OrderedDict
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from icnet import images as pictures
from icnet.sod import network, preprocessing
from icnet.sod.base import Method, Spec
from icnet.torchvision_models import Bottleneck, ResNet

SIDE = 352


def make(spec: Spec, device: torch.device) -> Method:
    """CPD at 352 x 352 px, with the backbone that the checkpoint's keys name."""
    convention = network.Convention(prepare=prepare, read=preprocessing.read_stretched_logit)
    return network.make(build, convention, spec, device)


def build(state: Mapping[str, Tensor]) -> nn.Module:
    """The variant that a state dict belongs to."""
    return CPDResNet() if any(key.startswith("resnet.") for key in state) else CPDVGG()


def prepare(image: np.ndarray) -> np.ndarray:
    """Resized by PIL in 8 bit, then ImageNet-normalized."""
    resized = pictures.resize(image, (SIDE, SIDE)).astype(np.float32) / 255
    return np.ascontiguousarray(preprocessing.normalize_imagenet(resized).transpose(2, 0, 1))


class CPDVGG(nn.Module):
    """Images [n, 3, h, w], h and w multiples of 16, to saliency logits [n, 1, h, w]."""

    def __init__(self) -> None:
        super().__init__()
        trunk = {
            "conv1": vgg_block("conv1_{}", 3, 64, 2, pool=False),
            "conv2": vgg_block("conv2_{}", 64, 128, 2),
            "conv3": vgg_block("conv3_{}", 128, 256, 3),
        }
        for branch in (1, 2):
            trunk[f"conv4_{branch}"] = vgg_block(f"conv4_{{}}_{branch}", 256, 512, 3)
            trunk[f"conv5_{branch}"] = vgg_block(f"conv5_{{}}_{branch}", 512, 512, 3)
            for level, channels in ((3, 256), (4, 512), (5, 512)):
                self.add_module(f"rfb{level}_{branch}", ReceptiveFields(nn.Conv2d, channels))
            self.add_module(f"agg{branch}", Aggregation(nn.Conv2d))
        self.vgg = nn.ModuleDict(trunk)
        self.HA = HolisticAttention()

    def forward(self, images: Tensor) -> Tensor:
        shallow = self.vgg["conv3"](self.vgg["conv2"](self.vgg["conv1"](images)))
        attention = self._branch(1, shallow).sigmoid()
        return network.upsample(self._branch(2, self.HA(attention, shallow)), 4)

    def _branch(self, branch: int, shallow: Tensor) -> Tensor:
        middle = self.vgg[f"conv4_{branch}"](shallow)
        deep = self.vgg[f"conv5_{branch}"](middle)
        fields = [self.get_submodule(f"rfb{i}_{branch}")(x) for i, x in ((5, deep), (4, middle), (3, shallow))]
        return self.get_submodule(f"agg{branch}")(*fields)


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
        middle = self.resnet.get_submodule(f"layer3_{branch}")(shallow)
        deep = self.resnet.get_submodule(f"layer4_{branch}")(middle)
        fields = [self.get_submodule(f"rfb{i}_{branch}")(x) for i, x in ((4, deep), (3, middle), (2, shallow))]
        return self.get_submodule(f"agg{branch}")(*fields)


class SplitResNet(ResNet):
    """ResNet-50 up to layer 2 [n, 512, h/8, w/8], with layers 3 and 4 in two copies that the branches call."""

    def __init__(self) -> None:
        super().__init__(Bottleneck, [3, 4, 6, 3])
        second = ResNet(Bottleneck, [3, 4, 6, 3])
        self.layer3_1, self.layer4_1 = self.layer3, self.layer4
        self.layer3_2, self.layer4_2 = second.layer3, second.layer4
        del self.layer3, self.layer4, self.fc

    def forward(self, x: Tensor) -> Tensor:
        return self.layer2(self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x))))))


class HolisticAttention(nn.Module):
    """Features times the blurred, min-max normalized attention map, where that exceeds the map itself."""

    def __init__(self) -> None:
        super().__init__()
        self.gaussian_kernel = nn.Parameter(torch.zeros(1, 1, 31, 31))

    def forward(self, attention: Tensor, features: Tensor) -> Tensor:
        blurred = F.conv2d(attention, self.gaussian_kernel, padding=15)
        low, high = blurred.amin((1, 2, 3), keepdim=True), blurred.amax((1, 2, 3), keepdim=True)
        return features * torch.maximum((blurred - low) / (high - low + 1e-8), attention)


class ReceptiveFields(nn.Module):
    """Features [n, c, h, w] to [n, 32, h, w], seen through windows of four widths."""

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
        branches = [self.branch0(x), self.branch1(x), self.branch2(x), self.branch3(x)]
        return F.relu(self.conv_cat(torch.cat(branches, 1)) + self.conv_res(x))


class Aggregation(nn.Module):
    """Three levels [n, 32, ...], deepest first, each twice the size of the one before, to logits [n, 1, h, w]."""

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
        middle_a = self.conv_upsample1(deep2) * middle
        shallow_a = self.conv_upsample2(double(deep2)) * self.conv_upsample3(double(middle)) * shallow
        middle_b = self.conv_concat2(torch.cat([middle_a, self.conv_upsample4(deep2)], 1))
        shallow_b = self.conv_concat3(torch.cat([shallow_a, self.conv_upsample5(double(middle_b))], 1))
        return self.conv5(self.conv4(shallow_b))


class ConvNorm(nn.Module):
    """Convolution without bias, batch normalization."""

    def __init__(self, inputs: int, outputs: int, kernel: int | tuple[int, int], **geometry: object) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, bias=False, **geometry)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


def vgg_block(name: str, inputs: int, outputs: int, count: int, pool: bool = True) -> nn.Sequential:
    """VGG's convolutions of one block, named 1.., after an average pool."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(pool=nn.AvgPool2d(2)) if pool else OrderedDict()
    for i in range(1, count + 1):
        layers[name.format(i)] = nn.Conv2d(inputs if i == 1 else outputs, outputs, 3, padding=1)
        layers[f"relu{i}"] = nn.ReLU()
    return nn.Sequential(layers)


def double(x: Tensor) -> Tensor:
    """Twice the size, corners aligned."""
    return network.upsample(x, 2, align_corners=True)
