"""The layers that the parts of the network are built from. Legend: n images, c channels, h x w cells."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval


def scale_channels(channels: int, width: float, step: int = 8) -> int:
    """A number of channels times the width of the network, rounded to a multiple of `step`, at least `step`."""
    return max(step, step * round(channels * width / step))


def resize(maps: Float[Tensor, "n c _h _w"], size: tuple[int, ...]) -> Float[Tensor, "n c h w"]:
    """Resize to `size` (h, w), bilinear with aligned corners: the only resampling in the network."""
    if maps.shape[2:] == size:
        return maps
    return functional.interpolate(maps, size=size, mode="bilinear", align_corners=True)


def disable_autocast(tensor: Tensor) -> torch.autocast:
    """Turn autocast off on the tensor's device: correlations, softmax, min-max and sort need float32."""
    return torch.autocast(tensor.device.type, enabled=False)


class ConvNorm(nn.Sequential):
    """A 3x3 convolution and its batch norm."""

    def __init__(self, channels: int, out: int, stride: int = 1) -> None:
        super().__init__(nn.Conv2d(channels, out, 3, stride, padding=1), nn.BatchNorm2d(out))

    def fold(self) -> None:
        """Merge the batch norm's running statistics into the convolution, for inference."""
        convolution, norm = self
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            self[0], self[1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()


class Residual(nn.Module):
    """x + [conv 3x3, batch norm, ReLU, conv 3x3](x), then ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Non-negative features of the same shape."""
        added: Tensor = self.second(self.first(features).relu_()) + features
        return added.relu_()


def sharpen(maps: Float[Tensor, "..."], factor: float) -> Float[Tensor, "..."]:
    """Maps in [0, 1] with their logits multiplied by a factor; 0, 0.5 and 1 stay."""
    if factor == 1:
        return maps
    above, below = maps**factor, (1 - maps) ** factor
    return above / (above + below)
