"""The loss of equation 3."""

from jaxtyping import Float
from torch import Tensor

EPSILON = 1e-12


def iou_loss(maps: Float[Tensor, "n k s s"], masks: Float[Tensor, "n 1 s s"]) -> Float[Tensor, ""]:
    """One minus the soft intersection over union, averaged over images and maps; in [0, 1] (equation 3).

    `maps` and `masks` are in [0, 1]. An image whose map and mask are both zero everywhere counts as a perfect match.
    """
    maps, masks = maps.flatten(2), masks.flatten(2).to(maps.dtype)
    intersections = maps.minimum(masks).sum(dim=2)
    unions = maps.maximum(masks).sum(dim=2)
    return 1 - ((intersections + EPSILON) / (unions + EPSILON)).mean()
