"""Whitening: the compressions in front of the co-saliency blocks become principal components of training features."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from icnet.model import STAGES, ICNet

UNTRAINED_POWER, PRETRAINED_POWER = 0.5, 0.25
"""Powers of the variance that features are divided by: for a random and for a pretrained backbone."""

VARIANCE_FLOOR = 1e-3
"""Added to every variance before the division, as a share of the largest variance."""

BATCH_SIZE = 8
"""Images that go through the backbone together."""


@torch.no_grad()
def whiten_compression(model: ICNet, images: Float[Tensor, "n 3 s s"], power: float = UNTRAINED_POWER) -> None:
    """Set the model's compressions to principal components of the backbone's features of `images`.

    Every component is divided by its variance to the `power`: 0.5 whitens, 0 only centers and rotates. The features of
    a random backbone all point nearly the same way: without whitening their correlations are useless. For pretrained
    features 0.25 is best, as components of small variance are mostly noise.
    """
    cells: dict[str, list[Tensor]] = {stage: [] for stage in model.compress}
    training = model.training
    model.eval()  # batch norms in the backbone must not learn from these images
    for batch in torch.split(images, BATCH_SIZE):
        features = dict(zip(STAGES, model.backbone(batch, low=False).high, strict=True))
        for stage, seen in cells.items():
            seen.append(features[int(stage)].permute(0, 2, 3, 1).flatten(0, 2))
    model.train(training)
    for stage, layer in model.compress.items():
        _fill_components(layer, torch.cat(cells[stage]), power)


def _fill_components(layer: nn.Module, cells: Float[Tensor, "p c"], power: float) -> None:
    """Set a 1x1 convolution to scaled principal components, largest variance first."""
    values, vectors = torch.linalg.eigh(torch.cov(cells.T))
    scaled = (vectors / (values + VARIANCE_FLOOR * values[-1]).pow(power)).T.flip(0)
    weight, bias = layer.parameters()
    components = scaled[: len(weight)]
    largest = components.gather(1, components.abs().argmax(dim=1, keepdim=True))
    components = components * largest.sign()  # the sign of an eigenvector would depend on rounding
    weight.copy_(components[:, :, None, None])
    bias.copy_(-components @ cells.mean(dim=0))
