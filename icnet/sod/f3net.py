"""F3Net with ResNet-50 (Wei et al., AAAI 2020): fuses fine and coarse features crosswise, twice.

Keys are those of the authors' checkpoint. Resizing is bilinear with align_corners=False.
"""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from icnet.images import Pixels
from icnet.sod import network, preprocessing
from icnet.sod.base import Method, Spec
from icnet.torchvision_models import Bottleneck, ResNet

SIDE = 352
MEAN = np.array([124.55, 118.90, 102.94], np.float32)
STD = np.array([56.77, 55.97, 57.50], np.float32)


uses_gpu = network.uses_gpu


def make(spec: Spec, device: torch.device) -> Method:
    """Make F3Net at 352 x 352 px. Its logits, a quarter of that, are resized directly to the image's size.

    Raises SodError if the checkpoint does not fit.
    """
    convention = network.Convention(prepare=prepare, read=preprocessing.read_logit)
    return network.make(lambda state: F3Net(), convention, spec, device)


def prepare(image: Pixels) -> NDArray[np.float32]:
    """Return the input [3, 352, 352]: normalized at the image's own size, then resized without antialiasing."""
    normalized = (image.astype(np.float32) - MEAN) / STD
    resized = cv2.resize(normalized, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(resized.transpose(2, 0, 1), np.float32)


class F3Net(nn.Module):
    """Images [n, 3, h, w] to saliency logits [n, 1, h/4, w/4]."""

    UNUSED = ("linearp1.", "linearr")
    """Prefixes of keys in the checkpoint that only training needs."""

    def __init__(self) -> None:
        super().__init__()
        self.bkbone = Backbone()
        for level, channels in ((5, 2048), (4, 1024), (3, 512), (2, 256)):
            layers = nn.Conv2d(channels, 64, 1), nn.BatchNorm2d(64), nn.ReLU()
            self.add_module(f"squeeze{level}", nn.Sequential(*layers))
        self.decoder1 = Decoder()
        self.decoder2 = Decoder()
        self.linearp2 = nn.Conv2d(64, 1, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        levels = [network.apply(self, f"squeeze{i}", x) for i, x in enumerate(self.bkbone(images), 2)]
        *levels, coarse = self.decoder1(*levels)
        levels = [x + network.resize(coarse, x.shape[-2:]) for x in levels]
        return network.apply(self, "linearp2", self.decoder2(*levels)[-1])


class Backbone(ResNet):  # type: ignore[misc]
    """Images [n, 3, h, w] to ResNet-50's four levels [n, 256..2048, h/4..h/32, w/4..w/32]."""

    def __init__(self) -> None:
        super().__init__(Bottleneck, [3, 4, 6, 3])
        del self.fc

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        levels = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            levels.append(x)
        return levels


class Decoder(nn.Module):
    """Levels 2 (finest) to 5, 64 channels each, to the refined levels and the finest fusion."""

    def __init__(self) -> None:
        super().__init__()
        self.cfm45, self.cfm34, self.cfm23 = CrossFeatures(), CrossFeatures(), CrossFeatures()

    def forward(self, f2: Tensor, f3: Tensor, f4: Tensor, f5: Tensor) -> tuple[Tensor, ...]:
        f4, fused = self.cfm45(f4, f5)
        f3, fused = self.cfm34(f3, fused)
        f2, fused = self.cfm23(f2, fused)
        return f2, f3, f4, f5, fused


class CrossFeatures(nn.Module):
    """Cross feature module: fine (h) and coarse (v) features, both refined by their product."""

    def __init__(self) -> None:
        super().__init__()
        for path in "hv":
            for i in range(1, 5):
                self.add_module(f"conv{i}{path}", nn.Conv2d(64, 64, 3, padding=1))
                self.add_module(f"bn{i}{path}", nn.BatchNorm2d(64))

    def forward(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        h1 = self._step("1h", fine)
        v1 = self._step("1v", network.resize(coarse, fine.shape[-2:]))
        both = self._step("2h", h1) * self._step("2v", v1)
        return self._step("4h", self._step("3h", both) + h1), self._step("4v", self._step("3v", both) + v1)

    def _step(self, name: str, x: Tensor) -> Tensor:
        return F.relu(network.apply(self, f"bn{name}", network.apply(self, f"conv{name}", x)))
