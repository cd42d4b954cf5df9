"""SISM corruption augmentation: the network learns to trust the group more than one SISM."""

import numpy as np

MIN_ERASED, MAX_FADED = 0.4, 0.6
"""Least share of each side that an erased rectangle takes; what a faded SISM keeps at most."""


def corrupt_sisms(draw: np.random.Generator, sisms: np.ndarray, share: float) -> np.ndarray:
    """SISMs [n, s, s] (uint8) of a batch, about a `share` of them changed by the draw.

    A third of those loses a rectangle, a third is faded, a third shows another image's objects too, at another place.
    """
    worse, side = sisms.copy(), sisms.shape[1]
    for place in range(len(sisms)):
        coin, kind, high, wide, top, left = draw.random(6)
        if coin >= share:
            continue
        if kind < 1 / 3:
            height, width = (round(side * (MIN_ERASED + (1 - MIN_ERASED) * length)) for length in (high, wide))
            y, x = round(top * (side - height)), round(left * (side - width))
            worse[place, y : y + height, x : x + width] = 0
        elif kind < 2 / 3:
            worse[place] = (sisms[place] * (MAX_FADED * high)).round().astype(np.uint8)
        else:
            shift = round(top * side), round(left * side)
            other = np.roll(sisms[int(high * len(sisms))], shift, axis=(0, 1))
            worse[place] = np.maximum(sisms[place], other)
    return worse
