"""EGNet with VGG-16 (Zhao et al., ICCV 2019), the paper's default SOD network, for its authors' checkpoint.

Keys are the authors'. Edge features of stage 2 guide salient-object features of every other stage.
Resizing is bilinear with align_corners=True throughout; every pool is 3 x 3 with stride 2.
"""

from functools import partial

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from icnet.sod import network, preprocessing
from icnet.sod.base import Method, Spec
from icnet.sod.base import Options as Base

LAYERS = [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0]
"""VGG-16's convolutions by channels; 0 is a pool."""

TAPS = (8, 15, 22, 29)
"""Indices in the backbone of the ReLUs after conv2_2, conv3_3, conv4_3 and conv5_3."""


class Options(Base):
    """longest: if not 0, larger images are seen with their longer side shrunk to it, in px, to spare memory."""

    longest: int = Field(0, ge=0)


def make(spec: Spec, device: torch.device) -> Method:
    """EGNet at the image's own size, unless an option says otherwise. SodError names what a checkpoint lacks."""
    longest = spec.options(Options).longest
    convention = network.Convention(prepare=partial(prepare, longest=longest), read=preprocessing.read_logit)
    return network.make(lambda state: EGNet(), convention, spec, device, Options)


def prepare(image: np.ndarray, longest: int = 0) -> np.ndarray:
    """BGR in 0..255 less the mean, full size or with its longer side at most so many px."""
    seen = preprocessing.limit_side(image, longest)[..., ::-1].astype(np.float32)
    return np.ascontiguousarray((seen - np.array([104.00699, 116.66877, 122.67892], np.float32)).transpose(2, 0, 1))


class EGNet(nn.Module):
    """Images [n, 3, h, w] to saliency logits [n, 1, h, w]."""

    UNUSED = ("merge1.trans.0.", "merge1.score.", "merge2.score.")
    """Keys of the checkpoint that only training needs."""

    def __init__(self) -> None:
        super().__init__()
        extra = [layer for _ in range(3) for layer in (nn.Conv2d(512, 512, 3, padding=1, bias=False), nn.ReLU())]
        self.base = nn.ModuleDict({"base": vgg(), "base_ex": nn.ModuleDict({"ex": nn.Sequential(*extra)})})
        self.merge1 = nn.ModuleDict(
            {
                "trans": nn.ModuleDict({"1": squeeze(512, 256), "2": squeeze(512, 128)}),
                "up": nn.ModuleList(map(refine, (3, 3, 5, 5, 7), (128, 256, 512, 512, 512))),
            }
        )
        self.merge2 = nn.ModuleDict(
            {
                "trans": nn.ModuleList([nn.ModuleList(squeeze(channels, 128) for channels in (256, 512, 512, 512))]),
                "up": nn.ModuleList([nn.ModuleList(refine(kernel, 128) for kernel in (3, 5, 5, 7))]),
                "final_score": nn.Sequential(
                    nn.Conv2d(128, 128, 5, padding=2), nn.ReLU(), nn.Conv2d(128, 1, 3, padding=1)
                ),
            }
        )

    def forward(self, images: Tensor) -> Tensor:
        edge, *salient = self.features(images)
        fused = None
        for squeezed, refined, features in zip(self.merge2["trans"][0], self.merge2["up"][0], salient, strict=True):
            guided = refined(like(squeezed(features), edge) + edge)
            fused = guided if fused is None else F.relu(fused + guided)
        return like(self.merge2["final_score"](fused), images)

    def features(self, images: Tensor) -> list[Tensor]:
        """Edge features at half size, then salient-object features of stages 3 to 6 at their sizes."""
        side, x = [], images
        for i, layer in enumerate(self.base["base"]):
            x = layer(x)
            if i in TAPS:
                side.append(x)
        up, trans = self.merge1["up"], self.merge1["trans"]
        s6 = up[4](self.base["base_ex"]["ex"](x))
        s5 = up[3](side[3] + like(s6, side[3]))
        s4 = up[2](side[2] + like(s5, side[2]))
        s3 = up[1](side[1] + like(trans["1"](s4), side[1]))
        edge = up[0](side[0] + like(trans["2"](s6), side[0]))
        return [edge, s3, s4, s5, s6]


def vgg() -> nn.Sequential:
    """VGG-16's features with pools of 3 x 3."""
    layers, inputs = [], 3
    for channels in LAYERS:
        if channels:
            layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU()]
            inputs = channels
        else:
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
    return nn.Sequential(*layers)


def refine(kernel: int, channels: int) -> nn.Sequential:
    """Three convolutions, each with a ReLU."""
    convolutions = [nn.Conv2d(channels, channels, kernel, padding=kernel // 2) for _ in range(3)]
    return nn.Sequential(*(layer for convolution in convolutions for layer in (convolution, nn.ReLU())))


def squeeze(inputs: int, outputs: int) -> nn.Sequential:
    """1 x 1 convolution without bias, ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.ReLU())


def like(features: Tensor, target: Tensor) -> Tensor:
    """Features resized to the target's size."""
    return network.resize(features, target.shape[-2:], align_corners=True)
