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
BOTH = {"vgg16": VGG16, "dinov2_vits14": DINOV2}
