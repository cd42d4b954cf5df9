"""The loss of equation 3, and one for groups whose SISMs mislead."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

EPSILON = 1e-12

BACKGROUND_SHARE = 0.5
"""Weight of the background in `combined_loss`."""


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
    masks = shrink_masks(masks, maps).expand_as(maps)
    entropy = F.binary_cross_entropy(maps, masks)
    foreground = _compute_iou_losses(maps, masks) * (masks.flatten(2).amax(dim=2) > 0)
    background = _compute_iou_losses(1 - maps, 1 - masks)
    return entropy + (foreground + BACKGROUND_SHARE * background).mean()


def _compute_iou_losses(maps: Float[Tensor, "n k s s"], masks: Float[Tensor, "n k s s"]) -> Float[Tensor, "n k"]:
    """One minus the soft intersection over union of every map, smoothed by one pixel."""
    intersections = maps.minimum(masks).flatten(2).sum(dim=2)
    unions = maps.maximum(masks).flatten(2).sum(dim=2)
    return 1 - (intersections + 1) / (unions + 1)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"iou": iou_loss, "combined": combined_loss}
"""The losses by the name that a training chooses them by."""
