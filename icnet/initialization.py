"""Weight initialization of an untrained backbone, and whitening of its features."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

HE_SHARE = 0.1
"""Share of a locally orthogonal convolution that is He's."""

UNTRAINED_POWER, PRETRAINED_POWER = 0.5, 0.25
"""Powers of the variance that `whiten` divides an untrained and an ImageNet VGG-16's features by."""

VARIANCE_FLOOR = 1e-3
"""Share of the largest variance that is added to each before it is divided by."""

WHITENING_BATCH = 8
"""Images that pass through the VGG-16 together where their features' statistics are taken."""


@torch.no_grad()
def fill_local_orthogonal(weight: Float[Tensor, "o i 3 3"]) -> None:
    """Fill a convolution so that it all but turns each cell's vector and sees a little of its neighbors."""
    center = nn.init.orthogonal_(weight.new_empty(weight.shape[:2]), gain=2**0.5)
    nn.init.kaiming_normal_(weight, nonlinearity="relu").mul_(HE_SHARE)
    weight[:, :, 1, 1] += center * (1 - HE_SHARE**2) ** 0.5


@torch.no_grad()
def whiten_compression(model: nn.Module, images: Float[Tensor, "n 3 s s"], power: float = UNTRAINED_POWER) -> None:
    """Let the model's compressing convolutions give principal components of the VGG-16's features of `images`.

    Each is divided by its variance to the `power`: 0.5 whitens, 0 only centers and turns. All features of an untrained
    VGG-16 point nearly the same way, so that their correlations tell nothing apart until they are whitened; ImageNet's
    tell objects apart best half-way there, as small variances are mostly noise.
    """
    seen: dict[str, list[Tensor]] = {stage: [] for stage in model.compress}
    for features in images.split(WHITENING_BATCH):
        for name, layers in model.backbone.stages().items():
            features = layers(features)
            if (stage := name.removeprefix("conv")) in seen:
                seen[stage].append(features.permute(0, 2, 3, 1).flatten(0, 2))
    for stage, layer in model.compress.items():
        cells = torch.cat(seen[stage])
        values, vectors = torch.linalg.eigh(torch.cov(cells.T))
        scaled_to = (vectors / (values + VARIANCE_FLOOR * values[-1]).pow(power)).T.flip(0)[: layer.out_channels]
        layer.weight.copy_(scaled_to[:, :, None, None])
        layer.bias.copy_(-scaled_to @ cells.mean(dim=0))
