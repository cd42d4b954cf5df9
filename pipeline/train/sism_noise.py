"""SISM corruption augmentation: the network learns to trust the group more than one SISM."""

import numpy as np

MIN_ERASED = 0.4
"""Least share of each side that an erased rectangle takes."""

MAX_FADED = 0.6
"""Largest share of its values that a faded SISM keeps."""


def corrupt_sisms(draw: np.random.Generator, sisms: np.ndarray, share: float) -> np.ndarray:
    """SISMs [n, s, s] (uint8) of a batch with about a `share` of them corrupted.

    A third of those loses a rectangle, a third is faded, a third also shows another image's objects at another place.
    """
    noisy = sisms.copy()
    for number in range(len(sisms)):
        coin, kind, *numbers = draw.random(6).tolist()
        if coin >= share:
            continue
        if kind < 1 / 3:
            _erase(noisy[number], *numbers)
        elif kind < 2 / 3:
            noisy[number] = (sisms[number] * (MAX_FADED * numbers[0])).round().astype(np.uint8)
        else:
            noisy[number] = _overlay(sisms, number, *numbers)
    return noisy


def _erase(sism: np.ndarray, high: float, wide: float, top: float, left: float) -> None:
    """Set a rectangle to zero, in place; all numbers in [0, 1)."""
    side = len(sism)
    height, width = (round(side * (MIN_ERASED + (1 - MIN_ERASED) * length)) for length in (high, wide))
    y, x = round(top * (side - height)), round(left * (side - width))
    sism[y : y + height, x : x + width] = 0


def _overlay(sisms: np.ndarray, number: int, other: float, _: float, top: float, left: float) -> np.ndarray:
    """A SISM with another image's SISM on top, shifted; all numbers in [0, 1)."""
    side = sisms.shape[1]
    shifted = np.roll(sisms[int(other * len(sisms))], (round(top * side), round(left * side)), axis=(0, 1))
    return np.maximum(sisms[number], shifted)
