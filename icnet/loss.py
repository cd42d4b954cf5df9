"""The loss of equation 3, and two for groups whose SISMs mislead."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

EPSILON = 1e-12

BACKGROUND_SHARE = 0.5
"""Weight of the background in `combined_loss` and `structure_loss`."""

EDGE_WEIGHT = 4.0
"""What `structure_loss` adds to the weight 1 of a pixel, times its difference from the mean of its surroundings."""

SURROUNDINGS = 8
"""The surroundings of a pixel have a side of this part of the map's."""


def shrink_masks(masks: Float[Tensor, "n 1 _ _"], maps: Float[Tensor, "n k h w"]) -> Float[Tensor, "n 1 h w"]:
    """Masks at the size and of the type of the maps: each pixel is the share of the mask in it."""
    masks = masks.to(maps.dtype)
    if masks.shape[2:] == maps.shape[2:]:
        return masks
    return F.adaptive_avg_pool2d(masks, (maps.shape[2], maps.shape[3]))


def iou_loss(maps: Float[Tensor, "n k s s"], masks: Float[Tensor, "n 1 _ _"]) -> Float[Tensor, ""]:
    """One minus the soft intersection over union, averaged over images and maps; in [0, 1] (equation 3).

    `maps` and `masks` are in [0, 1]; larger masks are shrunk. An image whose map and mask are both zero everywhere
    counts as a perfect match.
    """
    maps, masks = maps.flatten(2), shrink_masks(masks, maps).flatten(2)
    intersections = maps.minimum(masks).sum(dim=2)
    unions = maps.maximum(masks).sum(dim=2)
    return 1 - ((intersections + EPSILON) / (unions + EPSILON)).mean()


def combined_loss(maps: Float[Tensor, "n k s s"], masks: Float[Tensor, "n 1 _ _"]) -> Float[Tensor, ""]:
    """Binary cross-entropy, the soft IoU loss of the foreground and half that of the background, averaged as above.

    An image with an empty mask has no foreground term: its gradient comes from the other two.
    """
    masks = shrink_masks(masks, maps)
    return _combine(maps, masks, torch.ones_like(masks))


def structure_loss(maps: Float[Tensor, "n k s s"], masks: Float[Tensor, "n 1 _ _"]) -> Float[Tensor, ""]:
    """`combined_loss` with weights from 1 to 5: pixels near an edge of the mask count most (F3Net, AAAI 2020)."""
    masks = shrink_masks(masks, maps)
    side = masks.shape[-1] // SURROUNDINGS | 1
    around = F.avg_pool2d(masks, side, stride=1, padding=side // 2, count_include_pad=False)
    return _combine(maps, masks, 1 + EDGE_WEIGHT * (around - masks).abs())


def _combine(
    maps: Float[Tensor, "n k s s"], masks: Float[Tensor, "n 1 s s"], weights: Float[Tensor, "n 1 s s"]
) -> Float[Tensor, ""]:
    masks, weights = masks.expand_as(maps), weights.expand_as(maps)
    entropy = F.binary_cross_entropy(maps, masks, reduction="none")
    entropies = (weights * entropy).flatten(2).sum(dim=2) / weights.flatten(2).sum(dim=2)
    foreground = _compute_iou_losses(maps, masks, weights) * (masks.flatten(2).amax(dim=2) > 0)
    background = _compute_iou_losses(1 - maps, 1 - masks, weights)
    return (entropies + foreground + BACKGROUND_SHARE * background).mean()


def _compute_iou_losses(
    maps: Float[Tensor, "n k s s"], masks: Float[Tensor, "n k s s"], weights: Float[Tensor, "n k s s"]
) -> Float[Tensor, "n k"]:
    """One minus the soft intersection over union of every map, with weights of the pixels, smoothed by one pixel."""
    intersections = (weights * maps.minimum(masks)).flatten(2).sum(dim=2)
    unions = (weights * maps.maximum(masks)).flatten(2).sum(dim=2)
    return 1 - (intersections + 1) / (unions + 1)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "iou": iou_loss,
    "combined": combined_loss,
    "structure": structure_loss,
}
"""The losses by the name that a training chooses them by."""
