"""EGNet with VGG-16 (Zhao et al., ICCV 2019), the paper's default SOD network.

Keys are those of the authors' checkpoint. Edge features of stage 2 guide salient-object features of the other stages.
Resizing is bilinear with align_corners=True throughout; every pool is 3 x 3 with stride 2.
"""

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from icnet.images import Pixels
from icnet.sod import network, preprocessing
from icnet.sod.base import Method, Spec
from icnet.sod.base import Options as BaseOptions

LAYERS = [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0]
"""Channels of VGG-16's convolutions; 0 is a pool."""

TAPS = (8, 15, 22, 29)
"""Indices in the backbone of the ReLUs after conv2_2, conv3_3, conv4_3 and conv5_3."""


BGR_MEAN = np.array([104.00699, 116.66877, 122.67892], np.float32)

BYTES_PER_PIXEL, NETWORK_BYTES = 1000, 600_000_000
"""Memory at the peak for each pixel of the input, and for the weights."""


class Options(BaseOptions):
    """`longest`: larger images are reduced to this longer side, px, to limit memory; 0: never."""

    longest: int = Field(0, ge=0)


uses_gpu = network.uses_gpu


def make(spec: Spec, device: torch.device) -> Method:
    """Make EGNet at the image's own size, or at most `longest` px. Raises SodError if the checkpoint does not fit."""
    longest = spec.parse_options(Options).longest
    convention = network.Convention(prepare=partial(prepare, longest=longest), read=preprocessing.read_logit)
    return network.make(lambda state: EGNet(), convention, spec, device, Options)


def estimate_memory(spec: Spec, pixels: int) -> int:
    """Estimate the bytes for an image of so many pixels."""
    longest = spec.parse_options(Options).longest
    return NETWORK_BYTES + BYTES_PER_PIXEL * (min(pixels, longest**2) if longest else pixels)


def prepare(image: Pixels, longest: int = 0) -> NDArray[np.float32]:
    """Return the input [3, h, w]: BGR in [0, 255] minus the mean, the longer side at most `longest` px (0: any)."""
    reduced = preprocessing.limit_side(image, longest)[..., ::-1].astype(np.float32)
    return np.ascontiguousarray((reduced - BGR_MEAN).transpose(2, 0, 1))


class EGNet(nn.Module):
    """Images [n, 3, h, w] to saliency logits [n, 1, h, w]."""

    UNUSED = ("merge1.trans.0.", "merge1.score.", "merge2.score.")
    """Prefixes of keys in the checkpoint that only training needs."""

    def __init__(self) -> None:
        super().__init__()
        extra = [layer for _ in range(3) for layer in (nn.Conv2d(512, 512, 3, padding=1, bias=False), nn.ReLU())]
        self.base = nn.ModuleDict({"base": make_vgg(), "base_ex": nn.ModuleDict({"ex": nn.Sequential(*extra)})})
        self.merge1 = nn.ModuleDict(
            {
                "trans": nn.ModuleDict({"1": make_squeeze(512, 256), "2": make_squeeze(512, 128)}),
                "up": nn.ModuleList(map(make_refinement, (3, 3, 5, 5, 7), (128, 256, 512, 512, 512))),
            }
        )
        self.merge2 = nn.ModuleDict(
            {
                "trans": nn.ModuleList(
                    [nn.ModuleList(make_squeeze(channels, 128) for channels in (256, 512, 512, 512))]
                ),
                "up": nn.ModuleList([nn.ModuleList(make_refinement(kernel, 128) for kernel in (3, 5, 5, 7))]),
                "final_score": nn.Sequential(
                    nn.Conv2d(128, 128, 5, padding=2), nn.ReLU(), nn.Conv2d(128, 1, 3, padding=1)
                ),
            }
        )

    def forward(self, images: Tensor) -> Tensor:
        edge, *salient = self.compute_features(images)
        guided = []
        for i, features in enumerate(salient):
            squeezed = network.apply(self, f"merge2.trans.0.{i}", features)
            guided.append(network.apply(self, f"merge2.up.0.{i}", resize_like(squeezed, edge) + edge))
        fused = guided[0]
        for features in guided[1:]:
            fused = F.relu(fused + features)
        return resize_like(network.apply(self, "merge2.final_score", fused), images)

    def compute_features(self, images: Tensor) -> list[Tensor]:
        """Return edge features at half size, then salient-object features of stages 3 to 6 at their sizes."""
        side, x = [], images
        for i, layer in enumerate(self.get_submodule("base.base").children()):
            x = layer(x)
            if i in TAPS:
                side.append(x)
        s6 = self._merge(4, network.apply(self, "base.base_ex.ex", x))
        s5 = self._merge(3, side[3] + resize_like(s6, side[3]))
        s4 = self._merge(2, side[2] + resize_like(s5, side[2]))
        s3 = self._merge(1, side[1] + resize_like(network.apply(self, "merge1.trans.1", s4), side[1]))
        edge = self._merge(0, side[0] + resize_like(network.apply(self, "merge1.trans.2", s6), side[0]))
        return [edge, s3, s4, s5, s6]

    def _merge(self, level: int, features: Tensor) -> Tensor:
        return network.apply(self, f"merge1.up.{level}", features)


def make_vgg() -> nn.Sequential:
    """Make VGG-16's feature layers with pools of 3 x 3."""
    layers: list[nn.Module] = []
    inputs = 3
    for channels in LAYERS:
        if channels:
            layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU()]
            inputs = channels
        else:
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
    return nn.Sequential(*layers)


def make_refinement(kernel: int, channels: int) -> nn.Sequential:
    """Make three convolutions, each with a ReLU."""
    convolutions = [nn.Conv2d(channels, channels, kernel, padding=kernel // 2) for _ in range(3)]
    return nn.Sequential(*(layer for convolution in convolutions for layer in (convolution, nn.ReLU())))


def make_squeeze(inputs: int, outputs: int) -> nn.Sequential:
    """Make a 1 x 1 convolution without bias and a ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.ReLU())


def resize_like(features: Tensor, target: Tensor) -> Tensor:
    """Resize features to the target's size, corners aligned."""
    return network.resize(features, target.shape[-2:], align_corners=True)
