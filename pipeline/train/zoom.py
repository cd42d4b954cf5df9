"""Zoomed views of a training image: crops around its object, so that objects of all sizes are trained on.

In one collection, objects may cover twice the area that they cover in another.
"""

from collections.abc import Sequence

import numpy as np

from icnet import images

AREAS = (0.15, 0.6)
"""Share of the view that the object is to fill, drawn from this range."""

MIN_SIDE = 0.4
"""Least side of a view, as a share of the image's: smaller ones are blurred."""

PLAIN_SIDES = (0.8, 0.95)
"""Side of the view of an image whose object is large enough already."""

SHIFT = 0.18
"""Largest distance of the object's center from that of the view, as a share of the view's side."""


def zoom(draw: np.random.Generator, views: Sequence[np.ndarray]) -> list[np.ndarray]:
    """A crop of an image [s, s, 3] with its SISM and mask [s, s], all uint8, resized to the whole side."""
    size, inside = len(views[2]), views[2] > 127
    area, wanted, plain_side = inside.mean(), draw.uniform(*AREAS), draw.uniform(*PLAIN_SIDES)
    share = max(MIN_SIDE, float(np.sqrt(area / wanted))) if area else 1.0
    side = round(size * (share if share < PLAIN_SIDES[1] else plain_side))
    corner = []
    for places, shift in zip(np.nonzero(inside), draw.uniform(-SHIFT, SHIFT, 2), strict=True):
        center = places.mean() if area else size / 2
        corner.append(int(np.clip(center + shift * side - side / 2, 0, size - side)))
    top, left = corner
    crops = (np.ascontiguousarray(view[top : top + side, left : left + side]) for view in views)
    return [images.resize(crop, (size, size)) for crop in crops]
