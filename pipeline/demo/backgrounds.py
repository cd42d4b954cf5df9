"""Grounds, clutter and light of the embedded collection, all procedural.

Canvases are float32 RGB [h, w, 3] in [0, 1]; colors are muted, so that the toys are the salient objects.
"""

import colorsys
from collections.abc import Callable

import cv2
import numpy as np

from pipeline.demo.shapes import fill_outline, smooth_step

Generator = np.random.Generator


def make_noise(
    rng: Generator, height: int, width: int, cells: float, octaves: int = 4, stretch: float = 1
) -> np.ndarray:
    """Fractal noise in [0, 1] [h, w], `cells` bumps across at the coarsest, `stretch` times longer along x."""
    total, weight = np.zeros((height, width), np.float32), 0.0
    for octave in range(octaves):
        columns = max(int(cells * 2**octave / stretch), 2)
        rows = max(int(cells * 2**octave * height / width), 2)
        grid = rng.random((rows, columns), np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) / 2**octave
        weight += 1 / 2**octave
    return np.clip(total / weight, 0, 1)


def draw_illumination(rng: Generator, height: int, width: int, light: float) -> np.ndarray:
    """Factors for uneven light, darker corners, exposure and white balance, [h, w, 3]."""
    y, x = _plane(height, width)
    x, y = 2 * x / width - 1, 2 * y / height - 1
    slope = 1 + rng.uniform(0.04, 0.16) * (x * np.cos(light) + y * np.sin(light))
    corners = 1 - rng.uniform(0.02, 0.11) * (x * x + y * y)
    balance = rng.uniform(0.94, 1.06, 3) * rng.uniform(0.88, 1.08)
    return (slope * corners)[..., None] * balance.astype(np.float32)


def draw_shadow(canvas: np.ndarray, alpha: np.ndarray, light: float, radius: float) -> None:
    """Darken the canvas around a cover [h, w]: a long soft shadow away from the light, a short one below."""
    for reach, blur, strength in ((0.2, 0.12, 0.42), (0.05, 0.04, 0.35)):
        move = -np.array([np.cos(light), np.sin(light)]) * reach * radius
        shadow = cv2.warpAffine(alpha, np.array([[1, 0, move[0]], [0, 1, move[1]]]), alpha.shape[::-1])
        canvas *= 1 - strength * cv2.GaussianBlur(shadow, (0, 0), max(blur * radius, 0.5))[..., None]


def find_window(loops: list[np.ndarray], margin: float, height: int, width: int) -> tuple[slice, slice]:
    """The part of a canvas that holds the loops and a margin around them."""
    points = np.concatenate(loops)
    low = np.clip(np.floor(points.min(axis=0) - margin), 0, (width - 1, height - 1)).astype(int)
    high = np.clip(np.ceil(points.max(axis=0) + margin), low + 1, (width, height)).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])


# --- clutter ------------------------------------------------------------------------------------------------


def scatter_litter(rng: Generator, canvas: np.ndarray, light: float) -> None:
    """Scatter crumbs, leaves and scraps in muted colors."""
    height, width = canvas.shape[:2]
    for _ in range(rng.integers(5, 14)):
        radius = np.sqrt(height * width) * rng.uniform(0.015, 0.055)
        loop = _draw_scrap_outline(rng) * radius + rng.random(2) * (width, height)
        _draw_scrap(canvas, loop, _draw_color(rng, (0.02, 0.3), (0.05, 0.35), (0.3, 0.75)), light, radius)


def draw_leaf(rng: Generator, canvas: np.ndarray, center: np.ndarray, radius: float, light: float) -> np.ndarray:
    """Draw a dry leaf across the edge of a toy; returns its cover, float32 [h, w] in [0, 1]."""
    turn = rng.uniform(0, 2 * np.pi)
    away = np.array([np.cos(turn), np.sin(turn)])
    side = np.array([-away[1], away[0]])
    middle = center + away * radius * rng.uniform(0.55, 0.8)
    t = np.linspace(0, 1, 30)
    rib = middle + np.outer(t - 0.5, side) * radius * 1.5 + np.outer(np.sin(np.pi * t), away) * radius * 0.2
    belly = (0.26 * np.sin(np.pi * t) ** 0.8 * (1.25 - 0.5 * t))[:, None] * away * radius
    color = _draw_color(rng, (0.06, 0.14), (0.3, 0.5), (0.4, 0.62))
    box, alpha = _draw_scrap(canvas, np.concatenate([rib + belly, (rib - belly)[::-1]]), color, light, radius * 0.35)
    cv2.polylines(canvas, [_to_fixed_point(rib)], False, (color * 0.65).tolist(), 2, shift=4)
    cover = np.zeros(canvas.shape[:2], np.float32)
    cover[box] = alpha
    return cover


def _draw_scrap_outline(rng: Generator) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    kind = rng.integers(3)
    if kind == 0:
        loop = np.stack([np.cos(angle) * 1.4, np.sin(angle) * np.abs(np.cos(angle / 2)) ** 0.6 * 0.6], axis=1)
    elif kind == 1:
        loop = np.stack([np.cos(angle), np.sin(angle) * 0.8], axis=1) * rng.uniform(0.85, 1.1, (40, 1))
    else:
        loop = np.array([(-1, -0.7), (1, -0.7), (1, 0.7), (-1, 0.7)]) * rng.uniform(0.7, 1.2, (4, 2))
    return loop @ _draw_rotation(rng)


def _draw_rotation(rng: Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def _draw_scrap(
    canvas: np.ndarray, loop: np.ndarray, color: np.ndarray, light: float, radius: float
) -> tuple[tuple[slice, slice], np.ndarray]:
    """Draw a flat scrap with its shadow, lit from one side; returns its window and its cover there."""
    box = find_window([loop], radius, *canvas.shape[:2])
    part = canvas[box]
    inside = fill_outline([("+", loop - (box[1].start, box[0].start))], part.shape[:2])
    alpha = cv2.GaussianBlur(inside, (0, 0), 0.9).astype(np.float32) / 255
    draw_shadow(part, alpha, light, radius)
    rows, columns = np.mgrid[box].astype(np.float32)
    x, y = columns - loop[:, 0].mean(), rows - loop[:, 1].mean()
    lit = 1 + 0.22 * np.clip((x * np.cos(light) + y * np.sin(light)) / radius, -1, 1)
    part += alpha[..., None] * (color * lit[..., None] - part)
    return box, alpha


# --- grounds ------------------------------------------------------------------------------------------------


def _plane(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]


def _to_fixed_point(points: np.ndarray) -> np.ndarray:
    return np.round(points * 16).astype(np.int32)


def _draw_color(
    rng: Generator, hue: tuple[float, float], saturation: tuple[float, float], value: tuple[float, float]
) -> np.ndarray:
    drawn = (rng.uniform(*hue), rng.uniform(*saturation), rng.uniform(*value))
    return np.array(colorsys.hsv_to_rgb(*drawn), np.float32)


def _wood(rng: Generator, height: int, width: int) -> np.ndarray:
    upright = rng.random() < 0.4
    height, width = (width, height) if upright else (height, width)
    planks = int(rng.integers(3, 6))
    across = _plane(height, width)[0] / height * planks
    plank = np.minimum(across.astype(int), planks - 1)
    warp = make_noise(rng, height, width, 7, 3, 4) + rng.random(planks, np.float32)[plank] * 3
    tone = 0.82 + 0.07 * (1 + np.sin(warp * 38 + across * 6))
    tone += 0.2 * (make_noise(rng, height, width, 160, 2, 18) - 0.5) + 0.2 * (rng.random(planks)[plank] - 0.5)
    seam = np.abs((across + 0.5) % 1 - 0.5) * height / planks
    tone *= 1 - 0.55 * np.exp(-((seam / 1.8) ** 2))
    canvas = _draw_color(rng, (0.06, 0.1), (0.3, 0.5), (0.5, 0.78)) * tone[..., None]
    return canvas.transpose(1, 0, 2) if upright else canvas


def _cloth(rng: Generator, height: int, width: int) -> np.ndarray:
    y, x = _plane(height, width)
    pitch = rng.uniform(5, 7.5)
    across, down = np.sin(np.pi * x / pitch), np.sin(np.pi * y / pitch)
    tone = 0.8 + 0.2 * np.where(across * down > 0, np.abs(across), np.abs(down))
    tone += 0.14 * (make_noise(rng, height, width, 60, 2) - 0.5)
    tone *= 0.82 + 0.36 * make_noise(rng, height, width, 2.2, 2, 0.6)
    if rng.random() < 0.6:
        wide = rng.uniform(50, 90)
        tone *= 1 - 0.09 * (((x / wide) % 1 < 0.5).astype(np.float32) + ((y / wide) % 1 < 0.5))
    return _draw_color(rng, (0, 1), (0.06, 0.26), (0.5, 0.85)) * tone[..., None]


def _paper(rng: Generator, height: int, width: int) -> np.ndarray:
    y, x = _plane(height, width)
    creases = np.zeros((height, width), np.float32)
    for _ in range(9):
        turn, offset = rng.uniform(0, np.pi), rng.uniform(-0.5, 0.5)
        along = (x / width - 0.5) * np.float32(np.cos(turn)) + (y / height - 0.5) * np.float32(np.sin(turn)) - offset
        creases += rng.uniform(0.4, 1) * np.tanh(along * 60) * np.exp(-np.abs(along) * rng.uniform(5, 12))
    tone = 0.95 + 0.11 * creases + 0.22 * (make_noise(rng, height, width, 90, 3) - 0.5)
    tone += 0.12 * (make_noise(rng, height, width, 3, 2) - 0.5)
    return _draw_color(rng, (0.06, 0.14), (0.12, 0.4), (0.6, 0.85)) * tone[..., None]


def _leaves(rng: Generator, height: int, width: int) -> np.ndarray:
    canvas = (0.12 + 0.16 * make_noise(rng, height, width, 30, 3)[..., None]) * np.array((1, 0.8, 0.55), np.float32)
    t = np.linspace(0, np.pi, 12)
    upper = np.stack([-np.cos(t), 0.5 * np.sin(t) ** 1.2], axis=1)
    for _ in range(260):
        turn, radius = _draw_rotation(rng), np.sqrt(height * width) * rng.uniform(0.035, 0.075)
        center = rng.random(2) * (width, height)
        color = _draw_color(rng, (0.05, 0.17), (0.25, 0.5), (0.25, 0.58))
        halves = [(upper * (1, sign)) @ turn * radius + center for sign in (1, -1)]
        cv2.fillPoly(canvas, [_to_fixed_point(half + 3) for half in halves], (0.1, 0.08, 0.06), shift=4)
        for half, tone in zip(halves, (1.0, 0.8), strict=True):
            cv2.fillPoly(canvas, [_to_fixed_point(half)], (color * tone).tolist(), shift=4)
    return canvas


def _pebbles(rng: Generator, height: int, width: int) -> np.ndarray:
    count = int(rng.integers(90, 190))
    seeds = np.ones((height, width), np.uint8)
    seeds[rng.integers(0, height, count), rng.integers(0, width, count)] = 0
    _, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    inner = (cv2.Laplacian(labels.astype(np.float32), cv2.CV_32F) == 0).astype(np.uint8)
    reach = np.sqrt(height * width / count) * 0.45
    rim = np.clip(cv2.distanceTransform(inner, cv2.DIST_L2, 5) / reach, 0, 1)
    dome = cv2.GaussianBlur(np.sqrt(1 - (1 - rim) ** 2), (0, 0), 2)
    dy, dx = np.gradient(dome)
    turn = rng.uniform(0, 2 * np.pi)
    tone = 0.42 + 0.52 * dome - reach * 0.35 * (dx * np.cos(turn) + dy * np.sin(turn)).astype(np.float32)
    tone += 0.12 * (make_noise(rng, height, width, 70, 2) - 0.5)
    tints = np.stack([_draw_color(rng, (0.04, 0.16), (0.02, 0.22), (0.42, 0.74)) for _ in range(labels.max() + 1)])
    return tints[labels] * np.clip(tone, 0.1, 1.25)[..., None]


def _grass(rng: Generator, height: int, width: int) -> np.ndarray:
    canvas = np.full((height, width, 3), (0.17, 0.2, 0.1), np.float32)
    bend = rng.uniform(-0.6, 0.6)
    for _ in range(950):
        length, lean = rng.uniform(14, 42), bend + rng.normal(0, 0.35)
        start = rng.random(2) * (width, height * 1.1)
        ends = np.stack([start, start + np.array([np.sin(lean), -np.cos(lean)]) * length])
        color = _draw_color(rng, (0.17, 0.27), (0.25, 0.5), (0.28, 0.6)).tolist()
        cv2.polylines(canvas, [_to_fixed_point(ends)], False, color, int(rng.integers(2, 5)), shift=4)
    return canvas * (0.8 + 0.4 * make_noise(rng, height, width, 4, 3)[..., None])


def _concrete(rng: Generator, height: int, width: int) -> np.ndarray:
    y, x = _plane(height, width)
    tone = 0.75 + 0.3 * make_noise(rng, height, width, 4, 5) + 0.25 * (make_noise(rng, height, width, 120, 2) - 0.5)
    tone *= 1 - 0.3 * smooth_step(make_noise(rng, height, width, 45, 2) - 0.72, 0.08)
    wobble = (make_noise(rng, height, width, 6, 4) - 0.5) * 0.35 - rng.uniform(-0.2, 0.2)
    turn = rng.uniform(0, np.pi)
    crack = (x / width - 0.5) * np.float32(np.cos(turn)) + (y / height - 0.5) * np.float32(np.sin(turn)) + wobble
    tone *= 1 - 0.45 * np.exp(-((crack * 130) ** 2))
    return _draw_color(rng, (0.05, 0.65), (0.01, 0.1), (0.48, 0.75)) * tone[..., None]


def draw_ground(rng: Generator, kind: str, height: int, width: int) -> np.ndarray:
    """A bare ground of that kind, [h, w, 3]."""
    return np.ascontiguousarray(GROUNDS[kind](rng, height, width), np.float32)


GROUNDS: dict[str, Callable[[Generator, int, int], np.ndarray]] = {
    "wood": _wood,
    "cloth": _cloth,
    "paper": _paper,
    "leaves": _leaves,
    "pebbles": _pebbles,
    "grass": _grass,
    "concrete": _concrete,
}
