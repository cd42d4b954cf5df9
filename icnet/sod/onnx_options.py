"""Options of exported networks: how the image becomes the input, and what the output means."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import AliasChoices, Field, field_validator

from icnet import images
from icnet.sod.base import Options as BaseOptions
from icnet.sod.preprocessing import Array

PRESETS = ("u2net", "imagenet", "unit")

FORMULA = re.compile(r"(rgb|bgr)(?:-([\d.,]+))?(?:/([\d.,]+))?")
"""Channel order, mean and deviation in units of 0 to 255: `rgb-128/256`, `bgr-104,117,123`."""

Channels = tuple[float, float, float]


class Options(BaseOptions):
    """How an exported network is fed and read.

    input: name of the image input; the first if empty. output: number of the map's output. size: side of the square
    input in px; the network's own side if it is fixed, else 320.

    normalize: `u2net` (by the image's maximum, then ImageNet; the default), `imagenet`, `unit` (0 to 1), or a formula
    in units of 0 to 255 such as `rgb-128/256` or `bgr-104,117,123`. mean, std: one number or three (R,G,B), in units
    of the range. range: the value of white: `1`, `255`, or `max` (the image's maximum becomes 1). These three replace
    what `normalize` sets; without it, its value is then `unit`.

    antialias: resize as Pillow and torchvision do on images. map: what the output is: `stretch` (a probability,
    min-max normalized as U2Net's authors do), `probability`, or `logit`.
    """

    input: str = ""
    output: int = 0
    size: int | None = Field(None, ge=1)
    normalize: str = Field("", validation_alias=AliasChoices("normalize", "normalise"))
    mean: str = ""
    std: str = ""
    range: Literal["", "1", "255", "max"] = ""
    antialias: bool = False
    map: Literal["stretch", "probability", "logit"] = "stretch"

    @field_validator("normalize")
    @classmethod
    def _check_normalize(cls, text: str) -> str:
        match = FORMULA.fullmatch(text)
        if text and text not in PRESETS and not match:
            raise ValueError(f"expected {', '.join(PRESETS)} or a formula like rgb-128/256")
        if match:
            _parse_numbers(match[2] or "0")
            _parse_divisors(match[3] or "1")
        return text

    @field_validator("mean")
    @classmethod
    def _check_mean(cls, text: str) -> str:
        _parse_numbers(text or "0")
        return text

    @field_validator("std")
    @classmethod
    def _check_std(cls, text: str) -> str:
        _parse_divisors(text or "1")
        return text

    def make_normalization(self) -> "Normalization":
        """Combine the options normalize, mean, std and range."""
        base = _find_base(self.normalize or ("unit" if self.mean or self.std or self.range else "u2net"))
        return Normalization(
            base.order,
            self.range or base.range,
            _parse_numbers(self.mean) if self.mean else base.mean,
            _parse_divisors(self.std) if self.std else base.std,
        )


@dataclass(frozen=True)
class Normalization:
    """From RGB in [0, 1] to a network's values: scale to the range, subtract the mean, divide by the deviation."""

    order: str
    """`rgb` or `bgr`; mean and std are in this order."""
    range: str
    mean: Channels
    std: Channels

    def __call__(self, image: Array) -> Array:
        """Normalize float32 RGB [h, w, 3] in [0, 1]."""
        image = image[..., ::-1] if self.order == "bgr" else image
        if self.range == "max":
            image = image / (image.max() or np.float32(1))
        elif self.range == "255":
            image = image * np.float32(255)
        mean, std = (np.array(values, np.float32) for values in (self.mean, self.std))
        return np.asarray((image - mean) / std, np.float32)


def _find_base(text: str) -> Normalization:
    match = FORMULA.fullmatch(text)
    if match:
        return Normalization(match[1], "255", _parse_numbers(match[2] or "0"), _parse_divisors(match[3] or "1"))
    if text == "unit":
        return Normalization("rgb", "1", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return Normalization("rgb", "max" if text == "u2net" else "1", images.MEAN, images.STD)


def _parse_numbers(text: str) -> Channels:
    numbers: Sequence[float] = [float(part) for part in text.split(",")]
    if len(numbers) not in (1, 3) or not np.isfinite(numbers).all():
        raise ValueError(f"expected one number or three separated by commas, got {text!r}")
    first, *rest = numbers
    return (first, rest[0], rest[1]) if rest else (first, first, first)


def _parse_divisors(text: str) -> Channels:
    numbers = _parse_numbers(text)
    if 0 in numbers:
        raise ValueError("must not be zero")
    return numbers
