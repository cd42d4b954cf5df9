"""Draws a scene: procedural ground, puffy patterned toys with shading and drop shadows, antialiased.

Canvases are float32 RGB [h, w, 3] in [0, 1], drawn `FINE` times larger than the image and averaged down at the end.
"""

import colorsys
from collections.abc import Callable

import cv2
import numpy as np

from pipeline.scene import Scene, Toy
from pipeline.shapes import PATTERNS, fill, outline, smooth

FINE = 2

ACCENTS = {
    "cream": (0.97, 0.93, 0.82),
    "dark": (0.17, 0.13, 0.17),
    "yellow": (0.98, 0.82, 0.25),
    "blue": (0.16, 0.32, 0.66),
}

Dice = np.random.Generator


def draw(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """The image, uint8 RGB [h, w, 3], and the visible part of the group's own toy, uint8 [h, w] in {0, 255}."""
    dice = np.random.default_rng(scene.dice)
    height, width = scene.height * FINE, scene.width * FINE
    canvas = GROUNDS[scene.ground](dice, height, width)
    _litter(dice, canvas, scene.light, int(dice.integers(5, 14)))
    visible = np.zeros((height, width), np.float32)
    for number, toy in enumerate(scene.toys):
        cover = _toy(dice, canvas, toy, scene.light)
        visible = np.maximum(visible, cover) if number == scene.common else visible * (1 - cover)
    if scene.covered:
        visible *= 1 - _twig(dice, canvas, scene.toys[int(dice.integers(len(scene.toys)))], scene.light)
    canvas *= _illumination(dice, height, width, scene.light)
    size = (scene.width, scene.height)
    image = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)
    image += dice.normal(0, dice.uniform(0.004, 0.016), image.shape).astype(np.float32)
    mask = cv2.resize(visible, size, interpolation=cv2.INTER_AREA) > 0.5
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8), mask.astype(np.uint8) * 255


# --- toys ---------------------------------------------------------------------------------------------------


def _toy(dice: Dice, canvas: np.ndarray, toy: Toy, light: float) -> np.ndarray:
    """Paint a toy with its shadow; returns its cover, float32 [h, w] in [0, 1]."""
    height, width = canvas.shape[:2]
    centre = np.array([toy.x * width, toy.y * height])
    radius = toy.radius * np.sqrt(height * width)
    frame = _frame(toy)
    alpha = _soft(outline(toy.category.shape), frame, centre, radius, (height, width))
    _shade(canvas, alpha, light, radius)
    box = _box(alpha)
    colour = _material(dice, toy, frame, centre, radius, box)
    paint, shine = _relief(alpha[box], radius, light)
    canvas[box] += alpha[box][..., None] * (np.clip(colour * paint + shine, 0, 1.05) - canvas[box])
    return alpha


def _frame(toy: Toy) -> np.ndarray:
    """From unit to image coordinates, without place and size: stretch and shear, then turn."""
    cos, sin = np.cos(toy.angle), np.sin(toy.angle)
    bend = np.array([[toy.stretch, toy.shear], [0, 1 / toy.stretch]])
    return np.array([[cos, -sin], [sin, cos]]) @ bend


def _soft(parts: list, frame: np.ndarray, centre: np.ndarray, radius: float, shape: tuple[int, int]) -> np.ndarray:
    """The outline's cover with rounded corners."""
    mask = fill([(sign, loop @ frame.T * radius + centre) for sign, loop in parts], shape)
    blurred = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), radius * 0.045)
    return smooth(blurred - 0.5, 0.22).astype(np.float32)


def _box(alpha: np.ndarray) -> tuple[slice, slice]:
    rows, columns = np.nonzero(alpha.max(axis=1))[0], np.nonzero(alpha.max(axis=0))[0]
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _material(
    dice: Dice, toy: Toy, frame: np.ndarray, centre: np.ndarray, radius: float, box: tuple[slice, slice]
) -> np.ndarray:
    """Base and accent colour by the category's pattern, with a little wear."""
    rows, columns = np.mgrid[box].astype(np.float32)
    back = np.linalg.inv(frame) / radius
    x, y = columns - centre[0], rows - centre[1]
    u, v = back[0, 0] * x + back[0, 1] * y, back[1, 0] * x + back[1, 1] * y
    scale, shift = dice.uniform(0.88, 1.14), dice.uniform(0, 8, 2)
    if toy.category.texture == "ringed":
        shift = dice.uniform(-0.3, 0.3, 2)
    table = dice.random((16, 16, 3)).astype(np.float32)
    share = PATTERNS[toy.category.texture](u * scale + shift[0], v * scale + shift[1], table)[..., None]
    base = np.array(colorsys.hsv_to_rgb(toy.hue % 1, toy.saturation, toy.value), np.float32)
    accent = np.array(ACCENTS[toy.category.accent], np.float32) * dice.uniform(0.88, 1.05)
    wear = 1 + 0.08 * (_noise(dice, *u.shape, 4, 3)[..., None] - 0.5)
    return ((base * (1 - share) + accent * share) * wear).astype(np.float32)


def _relief(alpha: np.ndarray, radius: float, light: float) -> tuple[np.ndarray, np.ndarray]:
    """Shading factor and highlight of a puffed-up surface, both [h, w, 1]."""
    padded = cv2.copyMakeBorder((alpha > 0.5).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    rim = np.clip(depth / (0.42 * radius), 0, 1)
    surface = cv2.GaussianBlur(0.4 * radius * np.sqrt(1 - (1 - rim) ** 2), (0, 0), radius * 0.05)
    dy, dx = np.gradient(surface)
    normal = np.stack([-dx, -dy, np.ones_like(dx)], axis=-1)[1:-1, 1:-1]
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    sun = np.array([np.cos(light) * 0.62, np.sin(light) * 0.62, 0.79], np.float32)
    half = (sun + (0, 0, 1)) / np.linalg.norm(sun + (0, 0, 1))
    diffuse = np.clip(normal @ sun, 0, 1)
    shine = 0.55 * np.clip(normal @ half, 0, 1) ** 45 * (1 - np.clip(depth[1:-1, 1:-1] / radius, 0, 1) * 1.6).clip(0, 1)
    return (0.38 + 0.78 * diffuse)[..., None], shine[..., None].astype(np.float32)


def _shade(canvas: np.ndarray, alpha: np.ndarray, light: float, radius: float) -> None:
    """Darken the ground by a long soft shadow away from the light and a tight one underneath."""
    for reach, blur, strength in ((0.2, 0.12, 0.42), (0.05, 0.04, 0.35)):
        move = np.array([[1, 0, -np.cos(light) * reach * radius], [0, 1, -np.sin(light) * reach * radius]], np.float32)
        shadow = cv2.warpAffine(alpha, move, alpha.shape[::-1])
        canvas *= 1 - strength * cv2.GaussianBlur(shadow, (0, 0), blur * radius)[..., None]


# --- clutter ------------------------------------------------------------------------------------------------


def _muted(dice: Dice, low: float = 0.3, high: float = 0.75) -> np.ndarray:
    colour = colorsys.hsv_to_rgb(dice.uniform(0.02, 0.3), dice.uniform(0.05, 0.35), dice.uniform(low, high))
    return np.array(colour, np.float32)


def _litter(dice: Dice, canvas: np.ndarray, light: float, count: int) -> None:
    """Scatter crumbs, leaves and scraps in the ground's kind of colours."""
    height, width = canvas.shape[:2]
    unit = np.sqrt(height * width)
    for _ in range(count):
        radius = unit * dice.uniform(0.015, 0.055)
        centre = dice.random(2) * (width, height)
        _stamp(canvas, _scrap(dice) * radius + centre, _muted(dice), light, radius)


def _scrap(dice: Dice) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    kind = dice.integers(3)
    if kind == 0:
        loop = np.stack([np.cos(angle) * 1.4, np.sin(angle) * np.abs(np.cos(angle / 2)) ** 0.6 * 0.6], axis=1)
    elif kind == 1:
        loop = np.stack([np.cos(angle), np.sin(angle) * 0.8], axis=1) * dice.uniform(0.85, 1.1, (40, 1))
    else:
        loop = np.array([(-1, -0.7), (1, -0.7), (1, 0.7), (-1, 0.7)]) * dice.uniform(0.7, 1.2, (4, 2))
    turn = dice.uniform(0, 2 * np.pi)
    cos, sin = np.cos(turn), np.sin(turn)
    return loop @ np.array([[cos, sin], [-sin, cos]])


def _stamp(canvas: np.ndarray, loop: np.ndarray, colour: np.ndarray, light: float, radius: float) -> np.ndarray:
    """Paint a flat scrap with its shadow, lit from one side; returns its cover [h, w]."""
    reach = int(2.5 * radius) + 6
    height, width = canvas.shape[:2]
    low = np.maximum(np.floor(loop.min(axis=0)).astype(int) - reach, 0)
    high = np.minimum(np.ceil(loop.max(axis=0)).astype(int) + reach, (width, height))
    cover = np.zeros((height, width), np.float32)
    if (high <= low).any():
        return cover
    box = (slice(low[1], high[1]), slice(low[0], high[0]))
    inside = fill([("+", loop - low)], (high[1] - low[1], high[0] - low[0]))
    alpha = cv2.GaussianBlur(inside.astype(np.float32) / 255, (0, 0), 0.9)
    window = canvas[box]
    _shade(window, alpha, light, radius)
    rows, columns = np.mgrid[box].astype(np.float32)
    x, y = columns - loop[:, 0].mean(), rows - loop[:, 1].mean()
    lit = 1 + 0.22 * np.clip((x * np.cos(light) + y * np.sin(light)) / radius, -1, 1)
    window += alpha[..., None] * (colour * lit[..., None] - window)
    cover[box] = alpha
    return cover


def _twig(dice: Dice, canvas: np.ndarray, toy: Toy, light: float) -> np.ndarray:
    """Lay a dry leaf on a stalk across part of a toy; returns its cover [h, w]."""
    height, width = canvas.shape[:2]
    radius = toy.radius * np.sqrt(height * width)
    turn = dice.uniform(0, 2 * np.pi)
    away = np.array([np.cos(turn), np.sin(turn)])
    side = np.array([-away[1], away[0]])
    centre = np.array([toy.x * width, toy.y * height]) + away * radius * dice.uniform(0.55, 0.8)
    t = np.linspace(0, 1, 30)
    rib = centre + np.outer(t - 0.5, side) * radius * 1.5 + np.outer(np.sin(np.pi * t), away) * radius * 0.2
    belly = (0.26 * np.sin(np.pi * t) ** 0.8 * (1.25 - 0.5 * t))[:, None] * away * radius
    colour = _muted(dice, 0.4, 0.62) * np.array([1.1, 0.98, 0.7], np.float32)
    cover = _stamp(canvas, np.concatenate([rib + belly, (rib - belly)[::-1]]), colour, light, radius * 0.35)
    line = np.round(rib * 16).astype(np.int32)
    cv2.polylines(canvas, [line], False, (colour * 0.65).tolist(), 2, cv2.LINE_AA, 4)
    return cover


def _illumination(dice: Dice, height: int, width: int, light: float) -> np.ndarray:
    """Light falling off across the scene, darker corners, exposure and white balance, [h, w, 3]."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    slope = 1 + dice.uniform(0.04, 0.16) * (x * np.cos(light) + y * np.sin(light))
    corners = 1 - dice.uniform(0.02, 0.11) * (x * x + y * y)
    balance = dice.uniform(0.94, 1.06, 3) * dice.uniform(0.88, 1.08)
    return ((slope * corners)[..., None] * balance).astype(np.float32)


# --- grounds ------------------------------------------------------------------------------------------------


def _noise(dice: Dice, height: int, width: int, cells: float, octaves: int = 4, stretch: float = 1) -> np.ndarray:
    """Fractal noise in [0, 1] [h, w], `cells` bumps across at the coarsest, `stretch` times longer along x."""
    total, weight = np.zeros((height, width), np.float32), 0.0
    for octave in range(octaves):
        columns = max(int(cells * 2**octave / stretch), 2)
        rows = max(int(cells * 2**octave * height / width), 2)
        grid = dice.random((rows, columns)).astype(np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) / 2**octave
        weight += 1 / 2**octave
    return np.clip(total / weight, 0, 1)


def _tint(
    dice: Dice, hue: tuple[float, float], saturation: tuple[float, float], value: tuple[float, float]
) -> np.ndarray:
    return np.array(colorsys.hsv_to_rgb(*(dice.uniform(*span) for span in (hue, saturation, value))), np.float32)


def _wood(dice: Dice, height: int, width: int) -> np.ndarray:
    base = _tint(dice, (0.06, 0.1), (0.3, 0.5), (0.5, 0.78))
    planks = int(dice.integers(3, 6))
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    plank = np.minimum((y / height * planks).astype(int), planks - 1)
    warp = _noise(dice, height, width, 7, 3, 4) + np.array(dice.random(planks), np.float32)[plank] * 3
    grain = 0.5 + 0.5 * np.sin(warp * 38 + y / height * planks * 6)
    fibre = _noise(dice, height, width, 160, 2, 18)
    tone = 0.82 + 0.14 * grain + 0.2 * (fibre - 0.5) + np.array(dice.uniform(-0.1, 0.1, planks), np.float32)[plank]
    seam = np.abs((y / height * planks + 0.5) % 1 - 0.5) * height / planks
    tone *= 1 - 0.55 * np.exp(-((seam / 1.8) ** 2))
    canvas = base * tone[..., None]
    return canvas if dice.random() < 0.6 else np.ascontiguousarray(_turned(canvas, height, width))


def _turned(canvas: np.ndarray, height: int, width: int) -> np.ndarray:
    return cv2.resize(canvas.transpose(1, 0, 2), (width, height), interpolation=cv2.INTER_AREA)


def _cloth(dice: Dice, height: int, width: int) -> np.ndarray:
    base = _tint(dice, (0, 1), (0.06, 0.26), (0.5, 0.85))
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    pitch = dice.uniform(5, 7.5)
    over = np.sin(np.pi * x / pitch) * np.sin(np.pi * y / pitch) > 0
    thread = np.where(over, np.abs(np.sin(np.pi * x / pitch)), np.abs(np.sin(np.pi * y / pitch)))
    tone = 0.8 + 0.2 * thread + 0.14 * (_noise(dice, height, width, 60, 2) - 0.5)
    folds = _noise(dice, height, width, 2.2, 2, 0.6)
    tone *= 0.82 + 0.36 * folds
    if dice.random() < 0.6:
        wide = dice.uniform(50, 90)
        bands = ((x / wide) % 1 < 0.5).astype(np.float32) + ((y / wide) % 1 < 0.5)
        tone *= 1 - 0.09 * bands
    return base * tone[..., None]


def _paper(dice: Dice, height: int, width: int) -> np.ndarray:
    base = _tint(dice, (0.06, 0.14), (0.12, 0.4), (0.6, 0.85))
    creased = np.zeros((height, width), np.float32)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    for _ in range(9):
        turn, offset = dice.uniform(0, np.pi), dice.uniform(-0.5, 0.5)
        along = (x / width - 0.5) * np.cos(turn) + (y / height - 0.5) * np.sin(turn) - offset
        creased += dice.uniform(0.4, 1) * np.tanh(along * 60) * np.exp(-np.abs(along) * dice.uniform(5, 12))
    fibres = _noise(dice, height, width, 90, 3)
    tone = 0.95 + 0.11 * creased + 0.22 * (fibres - 0.5) + 0.12 * (_noise(dice, height, width, 3, 2) - 0.5)
    return base * tone[..., None]


def _pieces(
    dice: Dice, canvas: np.ndarray, count: int, light: float, size: tuple[float, float], colour: Callable
) -> np.ndarray:
    height, width = canvas.shape[:2]
    for _ in range(count):
        radius = np.sqrt(height * width) * dice.uniform(*size)
        centre = dice.random(2) * (width, height)
        _stamp(canvas, _scrap(dice) * radius + centre, colour(), light, radius)
    return canvas


def _leaves(dice: Dice, height: int, width: int) -> np.ndarray:
    canvas = np.full((height, width, 3), (0.2, 0.16, 0.11), np.float32)
    canvas *= 0.6 + 0.8 * _noise(dice, height, width, 30, 3)[..., None]
    light = dice.uniform(0, 2 * np.pi)
    return _pieces(
        dice, canvas, 170, light, (0.03, 0.065), lambda: _tint(dice, (0.05, 0.17), (0.25, 0.5), (0.25, 0.58))
    )


def _pebbles(dice: Dice, height: int, width: int) -> np.ndarray:
    count = int(dice.integers(90, 190))
    seeds = np.ones((height, width), np.uint8)
    spots = np.unique((dice.random((count, 2)) * (height, width)).astype(int), axis=0)
    seeds[spots[:, 0], spots[:, 1]] = 0
    _, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    edge = (cv2.Laplacian(labels.astype(np.float32), cv2.CV_32F) == 0).astype(np.uint8)
    depth = cv2.distanceTransform(edge, cv2.DIST_L2, 5)
    reach = np.sqrt(height * width / count) * 0.45
    dome = cv2.GaussianBlur(np.sqrt(np.clip(1 - (1 - np.clip(depth / reach, 0, 1)) ** 2, 0, 1)), (0, 0), 2)
    dy, dx = np.gradient(dome)
    turn = dice.uniform(0, 2 * np.pi)
    tints = np.stack([_tint(dice, (0.04, 0.16), (0.02, 0.22), (0.42, 0.74)) for _ in range(labels.max() + 1)])
    tone = 0.42 + 0.52 * dome - reach * 0.35 * (dx * np.cos(turn) + dy * np.sin(turn))
    tone += 0.12 * (_noise(dice, height, width, 70, 2) - 0.5)
    return tints[labels] * np.clip(tone, 0.1, 1.25)[..., None].astype(np.float32)


def _grass(dice: Dice, height: int, width: int) -> np.ndarray:
    canvas = np.full((height, width, 3), (0.17, 0.2, 0.1), np.float32)
    bend = dice.uniform(-0.6, 0.6)
    for _ in range(950):
        start = dice.random(2) * (width, height * 1.1)
        length, lean = dice.uniform(14, 42), bend + dice.normal(0, 0.35)
        tip = start + (np.sin(lean) * length, -np.cos(lean) * length)
        colour = _tint(dice, (0.17, 0.27), (0.25, 0.5), (0.28, 0.6))
        ends = np.round(np.stack([start, tip]) * 16).astype(np.int32)
        cv2.polylines(canvas, [ends], False, colour.tolist(), int(dice.integers(2, 5)), cv2.LINE_AA, 4)
    return canvas * (0.8 + 0.4 * _noise(dice, height, width, 4, 3)[..., None])


def _concrete(dice: Dice, height: int, width: int) -> np.ndarray:
    base = _tint(dice, (0.05, 0.65), (0.01, 0.1), (0.48, 0.75))
    tone = 0.75 + 0.3 * _noise(dice, height, width, 4, 5) + 0.25 * (_noise(dice, height, width, 120, 2) - 0.5)
    pits = _noise(dice, height, width, 45, 2)
    tone *= 1 - 0.3 * smooth(pits - 0.72, 0.08)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    wobble = (_noise(dice, height, width, 6, 4) - 0.5) * 0.35
    turn = dice.uniform(0, np.pi)
    crack = (x / width - 0.5) * np.cos(turn) + (y / height - 0.5) * np.sin(turn) + wobble - dice.uniform(-0.2, 0.2)
    tone *= 1 - 0.45 * np.exp(-((crack * 130) ** 2))
    return (base * tone[..., None]).astype(np.float32)


GROUNDS: dict[str, Callable[[Dice, int, int], np.ndarray]] = {
    "wood": _wood,
    "cloth": _cloth,
    "paper": _paper,
    "leaves": _leaves,
    "pebbles": _pebbles,
    "grass": _grass,
    "concrete": _concrete,
}
