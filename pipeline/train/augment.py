"""Augmentation of images with their SISMs and masks.

In NumPy rather than torchvision.transforms.v2, which resizes and changes colors by other formulas: trainings would not
repeat to the last bit.
"""

from dataclasses import dataclass

import numpy as np

from icnet import images


@dataclass(frozen=True)
class Augmentation:
    """Random changes of an image; the paper has the flip alone.

    `flip`: probability of a horizontal flip, in [0, 1]. `crop`: largest share of a side that a crop removes.
    `color_jitter`: largest change of brightness, contrast and saturation. `sism_noise`: share of the SISMs of a batch
    that are corrupted (`pipeline.train.sism_noise`). The last three are in [0, 1). SISM and mask share flip and crop.
    `zooms`: views of an image besides the whole one (`pipeline.train.zoom`). `pasted_groups`, `distractors`: shares of
    the batches and of the images with pasted objects (`pipeline.train.pasting`).
    """

    flip: float = 0.0
    crop: float = 0.0
    color_jitter: float = 0.0
    sism_noise: float = 0.0
    zooms: int = 0
    pasted_groups: float = 0.0
    distractors: float = 0.0

    @property
    def pastes(self) -> bool:
        """Whether objects are pasted."""
        return self.pasted_groups > 0 or self.distractors > 0

    def __call__(self, draw: np.random.Generator, views: list[np.ndarray]) -> list[np.ndarray]:
        """Flip, crop and jitter an image [s, s, 3] and its maps [s, s], uint8."""
        coin, share, y, x, *factors = draw.random(7)
        if coin < self.flip:
            views = [view[:, ::-1] for view in views]
        if self.crop:
            views = [_crop(view, 1 - self.crop * share, y, x) for view in views]
        if self.color_jitter:
            strengths = [1 + self.color_jitter * (2 * factor - 1) for factor in factors]
            views = [_jitter_color(views[0], *strengths), *views[1:]]
        return views


def _crop(view: np.ndarray, share: float, y: float, x: float) -> np.ndarray:
    """A square of `share` of the side, resized to the whole side; y, x in [0, 1): where it is."""
    size = view.shape[0]
    side = round(size * share)
    top, left = round(y * (size - side)), round(x * (size - side))
    return images.resize(view[top : top + side, left : left + side], (size, size))


def _jitter_color(image: np.ndarray, brightness: float, contrast: float, saturation: float) -> np.ndarray:
    values = image.astype(np.float32) * brightness
    gray = values.mean(axis=2, keepdims=True)
    values = gray + (values - gray) * saturation
    mean = values.mean()
    return np.clip(mean + (values - mean) * contrast, 0, 255).astype(np.uint8)


NO_AUGMENTATION = Augmentation()
"""Images stay as they are."""
