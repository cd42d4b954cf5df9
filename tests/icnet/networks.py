"""Small networks with random weights, one for each backbone, at a size that suits both."""

from typing import Any

SIZE = 84
VGG16: dict[str, Any] = {"size": SIZE, "width": 0.125, "init": "he"}
DINOV2: dict[str, Any] = {
    "backbone": "dinov2_vits14",
    "size": SIZE,
    "width": 1 / 6,
    "depths": (1, 2, 3),
    "init": "he",
}
FULL = DINOV2 | {"similarity_maps": True, "residual_maps": True}
"""With the options that make groups of unknown categories work best."""
BOTH = {"vgg16": VGG16, "dinov2_vits14": DINOV2}
ALL = BOTH | {"dinov2_vits14 with all maps": FULL}
