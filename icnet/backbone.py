"""The backbone: VGG-16 without its classifier, and the convolutional sixth stage that stands in its place."""

from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from icnet.blocks import ConvNorm, scaled

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of VGG-16's convolutions; each stage after the first begins with a 2x2 max pool."""
TOP = 128
"""Channels of the sixth stage."""

NEIGHBOURS = 0.1
"""Share of a locally orthogonal convolution that is He's."""

UNTRAINED, PRETRAINED = 0.5, 0.25
"""Powers of the variance that `whiten` divides an untrained and an ImageNet VGG-16's features by."""
FLOOR = 1e-3
"""Share of the largest variance that is added to each before it is divided by."""
WHITENED_AT_ONCE = 8
"""Images that pass through the VGG-16 together where their features' statistics are taken."""


class Backbone(nn.Module):
    """Features of six stages, each taken before the pooling that ends it (sections 3.5 and 4.1)."""

    def __init__(self, width: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.ends: list[int] = []
        self.channels = [scaled(stage[-1], width) for stage in STAGES]
        before = 3
        for stage in STAGES:
            if layers:
                layers.append(nn.MaxPool2d(2))
            for out in (scaled(channels, width) for channels in stage):
                layers += [nn.Conv2d(before, out, 3, padding=1), nn.ReLU(inplace=True)]
                before = out
            self.ends.append(len(layers))
        self.vgg = nn.Sequential(*layers)
        top = scaled(TOP, width)
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


@torch.no_grad()
def local_orthogonal(weight: Float[Tensor, "o i 3 3"]) -> None:
    """Fill a convolution so that it all but turns each cell's vector and sees a little of its neighbours."""
    centre = nn.init.orthogonal_(weight.new_empty(weight.shape[:2]), gain=2**0.5)
    nn.init.kaiming_normal_(weight, nonlinearity="relu").mul_(NEIGHBOURS)
    weight[:, :, 1, 1] += centre * (1 - NEIGHBOURS**2) ** 0.5


@torch.no_grad()
def whiten(model: nn.Module, images: Float[Tensor, "n 3 s s"], power: float = UNTRAINED) -> None:
    """Let the model's compressing convolutions give principal components of the VGG-16's features of `images`.

    Each is divided by its variance to the `power`: 0.5 whitens, 0 only centres and turns. All features of an untrained
    VGG-16 point nearly the same way, so that their correlations tell nothing apart until they are whitened; ImageNet's
    tell objects apart best half-way there, as small variances are mostly noise.
    """
    seen: dict[str, list[Tensor]] = {stage: [] for stage in model.compress}
    for features in images.split(WHITENED_AT_ONCE):
        for name, layers in model.backbone.stages().items():
            features = layers(features)
            if (stage := name.removeprefix("conv")) in seen:
                seen[stage].append(features.permute(0, 2, 3, 1).flatten(0, 2))
    for stage, layer in model.compress.items():
        cells = torch.cat(seen[stage])
        values, vectors = torch.linalg.eigh(torch.cov(cells.T))
        scaled_to = (vectors / (values + FLOOR * values[-1]).pow(power)).T.flip(0)[: layer.out_channels]
        layer.weight.copy_(scaled_to[:, :, None, None])
        layer.bias.copy_(-scaled_to @ cells.mean(dim=0))


def load_imagenet(model: nn.Module, source: str | Path) -> None:
    """Fill the model's VGG-16 from `source`: "torchvision" (a download) or a file with torchvision's keys.

    Raises ValueError where the file cannot be read or does not fit the model, FileNotFoundError where there is none.
    """
    found = _torchvision() if str(source) == "torchvision" else _read(Path(source))
    vgg = model.backbone.vgg
    wanted = vgg.state_dict()
    for key, tensor in wanted.items():
        name = f"features.{key}"
        if name not in found:
            raise ValueError(f"{source} has no `{name}`: expected the state dict of torchvision's VGG-16")
        if found[name].shape != tensor.shape:
            got, expected = tuple(found[name].shape), tuple(tensor.shape)
            raise ValueError(f"{source}: `{name}` is {got}, the model's is {expected}: ImageNet weights need width 1")
    vgg.load_state_dict({key: found[f"features.{key}"].to(tensor.dtype) for key, tensor in wanted.items()})


def _torchvision() -> dict[str, Tensor]:
    from torchvision.models import VGG16_Weights

    return VGG16_Weights.IMAGENET1K_V1.get_state_dict(check_hash=True, weights_only=True)


def _read(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise FileNotFoundError(f"there are no backbone weights at {file}")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{file} cannot be read as weights: {type(error).__name__}: {error}") from error
