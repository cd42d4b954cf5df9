"""Augmentation of images with their SISMs and masks."""

from dataclasses import dataclass

import numpy as np

from icnet import images


@dataclass(frozen=True)
class Augmentation:
    """What training does to each image: a flip with probability `flip`, shared with SISM and mask as the crop is.

    `crop`: the most that a crop takes off each side's length; `color_jitter`: the most that brightness, contrast and
    saturation change; `sism_noise`: the share of SISMs that are corrupted; all in [0, 1). The paper flips only.
    """

    flip: float = 0.0
    crop: float = 0.0
    color_jitter: float = 0.0
    sism_noise: float = 0.0

    def __call__(self, draw: np.random.Generator, views: list[np.ndarray]) -> list[np.ndarray]:
        """An image [s, s, 3] and its maps [s, s], uint8, changed by the draw."""
        coin, share, y, x, *factors = draw.random(7)
        if coin < self.flip:
            views = [view[:, ::-1] for view in views]
        if self.crop:
            size = views[0].shape[0]
            side = round(size * (1 - self.crop * share))
            top, left = round(y * (size - side)), round(x * (size - side))
            views = [images.resize(view[top : top + side, left : left + side], (size, size)) for view in views]
        if self.color_jitter:
            views = [
                self._jitter_color(views[0], *(1 + self.color_jitter * (2 * factor - 1) for factor in factors)),
                *views[1:],
            ]
        return views

    @staticmethod
    def _jitter_color(image: np.ndarray, brightness: float, contrast: float, saturation: float) -> np.ndarray:
        values = image.astype(np.float32) * brightness
        gray = values.mean(axis=2, keepdims=True)
        values = gray + (values - gray) * saturation
        mean = values.mean()
        return np.clip(mean + (values - mean) * contrast, 0, 255).astype(np.uint8)


NO_AUGMENTATION = Augmentation()
"""Images as they are."""
