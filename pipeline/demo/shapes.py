"""Outlines and patterns of the embedded collection's toys, in an object's own unit coordinates (x right, y down)."""

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np

Loop = np.ndarray
"""A closed outline, float64 [points, 2]."""

AREA = 1.7
"""Of every outline, in unit coordinates."""

REACH = 1.25
"""Largest distance of an outline from its center along x or y."""


def smooth_step(values: np.ndarray, width: float) -> np.ndarray:
    """0 below -width / 2, 1 above width / 2, a ramp between: an antialiased step."""
    return np.clip(values / width + 0.5, 0, 1)


# --- outlines -------------------------------------------------------------------------------------------------


def _polar(radius: Callable[[np.ndarray], np.ndarray], points: int = 240) -> Loop:
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([np.sin(angle), -np.cos(angle)], axis=1) * np.broadcast_to(radius(angle), points)[:, None]


def _ellipse(x: float, y: float, rx: float, ry: float, turn: float = 0.0) -> Loop:
    circle = _polar(np.ones_like) * (rx, ry)
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    return circle @ np.array([[cos, sin], [-sin, cos]]) + (x, y)


def _polygon(*points: tuple[float, float]) -> Loop:
    return np.array(points, dtype=np.float64)


def _mirrored(*points: tuple[float, float]) -> Loop:
    return _polygon(*points, *((-x, y) for x, y in reversed(points)))


def _star() -> Loop:
    angle = np.arange(10) * np.pi / 5
    radius = np.where(np.arange(10) % 2, 0.5, 1.15)
    return np.stack([np.sin(angle), -np.cos(angle)], axis=1) * radius[:, None]


def _heart() -> Loop:
    t = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3, -y], axis=1) / 16


def _drop() -> Loop:
    t = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    return np.stack([0.8 * np.sin(t) * np.sin(t / 2) ** 1.4, -np.cos(t)], axis=1)


def _teeth(angle: np.ndarray) -> np.ndarray:
    return 0.86 + 0.2 * smooth_step(np.sin(9 * angle), 0.7)


OUTLINES: dict[str, list[tuple[str, Loop]]] = {
    "star": [("+", _star())],
    "heart": [("+", _heart())],
    "ring": [("+", _ellipse(0, 0, 1, 1)), ("-", _ellipse(0, 0, 0.48, 0.48))],
    "crescent": [("+", _ellipse(0, 0, 1, 1)), ("-", _ellipse(0.52, 0, 0.78, 0.8))],
    "cross": [
        ("+", _polygon((-0.36, -1), (0.36, -1), (0.36, 1), (-0.36, 1))),
        ("+", _polygon((-1, -0.36), (1, -0.36), (1, 0.36), (-1, 0.36))),
    ],
    "drop": [("+", _drop())],
    "flower": [("+", _polar(lambda angle: 0.72 + 0.3 * np.cos(6 * angle)))],
    "bolt": [
        ("+", _polygon((0.25, -1.2), (-0.75, 0.15), (-0.1, 0.15), (-0.3, 1.2), (0.75, -0.3), (0.1, -0.3), (0.7, -1.2)))
    ],
    "arrow": [("+", _mirrored((0, -1.1), (0.95, -0.05), (0.4, -0.05), (0.4, 1.1)))],
    "house": [
        ("+", _mirrored((0, -1), (1.05, -0.1), (0.8, -0.1), (0.8, 0.95))),
        ("+", _polygon((0.4, -0.95), (0.66, -0.95), (0.66, -0.3), (0.4, -0.3))),
    ],
    "pine": [
        (
            "+",
            _mirrored(
                (0, -1.2), (0.55, -0.45), (0.3, -0.45), (0.8, 0.2), (0.42, 0.2), (1, 0.85), (0.2, 0.85), (0.2, 1.2)
            ),
        )
    ],
    "bottle": [
        ("+", _mirrored((0, -1.3), (0.22, -1.3), (0.22, -0.65), (0.58, -0.2), (0.58, 1.2), (0, 1.2))),
    ],
    "gear": [("+", _polar(_teeth, 480)), ("-", _ellipse(0, 0, 0.32, 0.32))],
    "fish": [
        ("+", _ellipse(-0.2, 0, 0.85, 0.55)),
        ("+", _polygon((0.35, 0), (1.15, -0.6), (0.95, 0), (1.15, 0.6))),
        ("+", _polygon((-0.4, -0.4), (0.2, -0.85), (0.25, -0.3))),
    ],
    "cloud": [
        ("+", _ellipse(0, -0.25, 0.55, 0.52)),
        ("+", _ellipse(-0.6, 0.1, 0.48, 0.45)),
        ("+", _ellipse(0.62, 0.1, 0.5, 0.45)),
        ("+", _ellipse(0, 0.28, 0.75, 0.35)),
    ],
    "bell": [
        ("+", _mirrored((0, -1), (0.3, -0.92), (0.52, -0.6), (0.6, 0.1), (0.95, 0.6), (0.95, 0.75))),
        ("+", _ellipse(0, 0.82, 0.28, 0.28)),
        ("+", _ellipse(0, -1, 0.18, 0.18)),
    ],
    "mushroom": [
        ("+", _mirrored((0, -0.95), (0.45, -0.88), (0.85, -0.55), (1.05, -0.05), (0.95, 0.12), (0, 0.12))),
        ("+", _mirrored((0.3, 0), (0.28, 0.6), (0.45, 0.95))),
    ],
    "butterfly": [
        ("+", _ellipse(-0.58, -0.4, 0.62, 0.42, 35)),
        ("+", _ellipse(0.58, -0.4, 0.62, 0.42, -35)),
        ("+", _ellipse(-0.45, 0.45, 0.45, 0.34, -40)),
        ("+", _ellipse(0.45, 0.45, 0.45, 0.34, 40)),
        ("+", _ellipse(0, 0, 0.17, 0.8)),
    ],
    "mug": [
        ("+", _ellipse(0.6, 0, 0.52, 0.52)),
        ("-", _ellipse(0.6, 0, 0.27, 0.27)),
        ("+", _polygon((-0.85, -0.85), (0.5, -0.85), (0.42, 0.85), (-0.77, 0.85))),
    ],
    "rocket": [
        ("+", _ellipse(0, -0.2, 0.46, 1.15)),
        ("+", _mirrored((0.25, 0.1), (0.88, 0.75), (0.88, 1.2), (0.25, 0.8))),
        ("+", _mirrored((0.22, 0.8), (0.3, 1.15))),
    ],
    "crown": [
        ("+", _mirrored((0, -0.9), (0.35, -0.1), (0.95, -0.75), (0.8, 0.75))),
        ("+", _ellipse(0, -0.9, 0.17, 0.17)),
        ("+", _ellipse(-0.95, -0.75, 0.17, 0.17)),
        ("+", _ellipse(0.95, -0.75, 0.17, 0.17)),
    ],
    "duck": [
        ("+", _ellipse(0.15, 0.4, 0.85, 0.52)),
        ("+", _ellipse(-0.45, -0.4, 0.45, 0.43)),
        ("+", _polygon((-0.8, -0.5), (-1.25, -0.28), (-0.75, -0.15))),
        ("+", _polygon((0.6, 0.3), (1.2, -0.2), (0.95, 0.5))),
    ],
}


def fill_outline(parts: list[tuple[str, Loop]], shape: tuple[int, int]) -> np.ndarray:
    """The outline's inside as uint8 [h, w] in {0, 255}; loops in px, `+` adds an area, `-` removes one."""
    mask = np.zeros(shape, np.uint8)
    for sign, loop in parts:
        points = np.round(loop * 16).astype(np.int32)
        cv2.fillPoly(mask, [points], 255 if sign == "+" else 0, lineType=cv2.LINE_8, shift=4)
    return mask


@cache
def get_outline(name: str) -> list[tuple[str, Loop]]:
    """The named outline, centered; all have the same area, so that none is more salient than another."""
    parts = OUTLINES[name]
    cells = 100
    mask = fill_outline([(sign, (loop + 1.6) * cells) for sign, loop in parts], (320, 320)) > 0
    rows, columns = np.nonzero(mask)
    low = np.array([columns.min(), rows.min()]) / cells - 1.6
    high = np.array([columns.max(), rows.max()]) / cells - 1.6
    factor = min(np.sqrt(AREA / (mask.sum() / cells**2)), 2 * REACH / (high - low).max())
    return [(sign, (loop - (low + high) / 2) * factor) for sign, loop in parts]


# --- patterns: (u, v, frequency, phase table) -> share of the accent color in [0, 1] ------------------------

Pattern = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def _wave(x: np.ndarray) -> np.ndarray:
    return np.sin(2 * np.pi * x)


def _cells(u: np.ndarray, v: np.ndarray, phases: np.ndarray, jitter: float) -> tuple[np.ndarray, ...]:
    """Distances to the two nearest points of a jittered hexagonal grid, and a random number of the nearest."""
    row = np.floor(v).astype(np.int32)
    first = np.full(u.shape, 9.0, np.float32)
    second, chosen = first.copy(), np.zeros_like(first)
    for dy in (-1, 0, 1):
        r = row + dy
        column = np.floor(u - 0.5 * (r % 2)).astype(np.int32)
        for dx in (-1, 0, 1):
            c = column + dx
            cell = phases[r % 16, c % 16]
            x = c + 0.5 + 0.5 * (r % 2) + jitter * (cell[..., 0] - 0.5)
            distance = np.hypot(u - x, (v - r - 0.5 - jitter * (cell[..., 1] - 0.5)) * 0.9)
            second = np.minimum(second, np.maximum(first, distance))
            chosen = np.where(distance < first, cell[..., 2], chosen)
            first = np.minimum(first, distance)
    return first, second, chosen


def _striped(u: np.ndarray, v: np.ndarray, phases: np.ndarray) -> np.ndarray:
    return smooth_step(_wave(1.7 * u), 0.35)


def _spotted(u: np.ndarray, v: np.ndarray, phases: np.ndarray) -> np.ndarray:
    return smooth_step(0.29 - _cells(2.0 * u, 2.2 * v, phases, 0.0)[0], 0.08)


def _checkered(u: np.ndarray, v: np.ndarray, phases: np.ndarray) -> np.ndarray:
    return smooth_step(_wave(1.15 * u) * _wave(1.15 * v), 0.15)


def _ringed(u: np.ndarray, v: np.ndarray, phases: np.ndarray) -> np.ndarray:
    return smooth_step(_wave(2.0 * np.hypot(u, v) + 0.25), 0.4)


def _zigzag(u: np.ndarray, v: np.ndarray, phases: np.ndarray) -> np.ndarray:
    return smooth_step(_wave(1.7 * v + 0.55 * np.abs((2.2 * u) % 2 - 1)), 0.4)


def _speckled(u: np.ndarray, v: np.ndarray, phases: np.ndarray) -> np.ndarray:
    near, _, die = _cells(4.2 * u, 4.2 * v, phases, 0.7)
    return smooth_step(0.12 + 0.22 * die - near, 0.12)


def _diamond(u: np.ndarray, v: np.ndarray, phases: np.ndarray) -> np.ndarray:
    return smooth_step(_wave(1.1 * u + 0.75 * v) * _wave(1.1 * u - 0.75 * v), 0.15)


def _gridded(u: np.ndarray, v: np.ndarray, phases: np.ndarray) -> np.ndarray:
    return smooth_step(np.maximum(np.cos(2 * np.pi * 1.9 * u), np.cos(2 * np.pi * 1.9 * v)) - 0.72, 0.3)


def _scaly(u: np.ndarray, v: np.ndarray, phases: np.ndarray) -> np.ndarray:
    row = np.floor(3.4 * v)
    return smooth_step(np.hypot((2.6 * u + 0.5 * (row % 2)) % 1 - 0.5, 0.55 * (3.4 * v - row)) - 0.42, 0.12)


def _wavy(u: np.ndarray, v: np.ndarray, phases: np.ndarray) -> np.ndarray:
    return smooth_step(_wave(1.8 * v + 0.28 * _wave(1.0 * u)), 0.4)


def _plaid(u: np.ndarray, v: np.ndarray, phases: np.ndarray) -> np.ndarray:
    return 0.5 * smooth_step(_wave(1.3 * u), 0.3) + 0.5 * smooth_step(_wave(1.3 * v), 0.3)


def _marbled(u: np.ndarray, v: np.ndarray, phases: np.ndarray) -> np.ndarray:
    bend = 0.35 * _wave(0.8 * v + 0.3 * _wave(0.9 * u)) + 0.2 * _wave(1.3 * u - 0.7 * v)
    return smooth_step(np.abs(_wave(0.9 * u + 0.6 * v + bend)) - 0.75, 0.45)


def _patched(u: np.ndarray, v: np.ndarray, phases: np.ndarray) -> np.ndarray:
    first, second, _ = _cells(2.0 * u, 2.0 * v, phases, 0.8)
    return smooth_step(0.14 - (second - first), 0.1)


def _blotched(u: np.ndarray, v: np.ndarray, phases: np.ndarray) -> np.ndarray:
    return smooth_step(_cells(1.7 * u, 1.7 * v, phases, 0.8)[2] - 0.55, 0.02)


PATTERNS: dict[str, Pattern] = {
    "striped": _striped,
    "spotted": _spotted,
    "checkered": _checkered,
    "ringed": _ringed,
    "zigzag": _zigzag,
    "speckled": _speckled,
    "diamond": _diamond,
    "gridded": _gridded,
    "scaly": _scaly,
    "wavy": _wavy,
    "plaid": _plaid,
    "marbled": _marbled,
    "patched": _patched,
    "blotched": _blotched,
}
"""Each maps u, v [h, w] and a table of phases [16, 16, 3] in [0, 1] to the share of the accent color in [0, 1]."""
