"""Draws a scene: puffy patterned toys with shading and drop shadows on a procedural ground, antialiased.

Canvases are float32 RGB [h, w, 3] in [0, 1], drawn `FINE` times larger than the image and averaged down at the end.
"""

import colorsys

import cv2
import numpy as np

from pipeline.demo.backgrounds import illumination, leaf, litter, noise, shade, spread, window
from pipeline.demo.scene import Scene, Toy
from pipeline.demo.shapes import PATTERNS, fill, outline, smooth

FINE = 2

ACCENTS = {
    "cream": (0.97, 0.93, 0.82),
    "dark": (0.17, 0.13, 0.17),
    "yellow": (0.98, 0.82, 0.25),
    "blue": (0.16, 0.32, 0.66),
}

Dice = np.random.Generator


def draw_scene(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """The image, uint8 RGB [h, w, 3], and the visible part of the group's own toy, uint8 [h, w] in {0, 255}."""
    dice = np.random.default_rng(scene.dice)
    height, width = scene.height * FINE, scene.width * FINE
    canvas = spread(dice, scene.ground, height, width)
    litter(dice, canvas, scene.light)
    visible = np.zeros((height, width), np.float32)
    for number, toy in enumerate(scene.toys):
        cover = _toy(dice, canvas, toy, scene.light)
        visible = np.maximum(visible, cover) if number == scene.common else visible * (1 - cover)
    if scene.covered:
        center, radius = _place(scene.toys[dice.integers(len(scene.toys))], height, width)
        visible *= 1 - leaf(dice, canvas, center, radius, scene.light)
    canvas *= illumination(dice, height, width, scene.light)
    size = (scene.width, scene.height)
    image = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)
    image += dice.standard_normal(image.shape, np.float32) * np.float32(dice.uniform(0.004, 0.016))
    mask = cv2.resize(visible, size, interpolation=cv2.INTER_AREA) > 0.5
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8), mask.astype(np.uint8) * 255


def _toy(dice: Dice, canvas: np.ndarray, toy: Toy, light: float) -> np.ndarray:
    """Paint a toy with its shadow; returns its cover, float32 [h, w] in [0, 1]."""
    center, radius = _place(toy, *canvas.shape[:2])
    frame = _frame(toy)
    loops = [(sign, loop @ frame.T * radius + center) for sign, loop in outline(toy.category.shape)]
    box = window([loop for _, loop in loops], radius * 0.4, *canvas.shape[:2])
    part = canvas[box]
    corner = np.array([box[1].start, box[0].start])
    alpha = _soft([(sign, loop - corner) for sign, loop in loops], radius, part.shape[:2])
    shade(part, alpha, light, radius)
    color = _material(dice, toy, frame, center - corner, radius, part.shape[:2])
    paint, shine = _relief(alpha, radius, light)
    part += alpha[..., None] * (np.clip(color * paint + shine, 0, 1.05) - part)
    cover = np.zeros(canvas.shape[:2], np.float32)
    cover[box] = alpha
    return cover


def _place(toy: Toy, height: int, width: int) -> tuple[np.ndarray, float]:
    """Centre (x, y) and radius in px of the canvas."""
    return np.array([toy.x * width, toy.y * height]), toy.radius * float(np.sqrt(height * width))


def _frame(toy: Toy) -> np.ndarray:
    """From unit to image coordinates, without place and size: stretch and shear, then turn."""
    cos, sin = np.cos(toy.angle), np.sin(toy.angle)
    bend = np.array([[toy.stretch, toy.shear], [0, 1 / toy.stretch]])
    return np.array([[cos, -sin], [sin, cos]]) @ bend


def _soft(loops: list[tuple[str, np.ndarray]], radius: float, shape: tuple[int, int]) -> np.ndarray:
    """The outline's cover with rounded corners."""
    blurred = cv2.GaussianBlur(fill(loops, shape).astype(np.float32) / 255, (0, 0), radius * 0.045)
    return smooth(blurred - 0.5, 0.22)


def _material(
    dice: Dice, toy: Toy, frame: np.ndarray, center: np.ndarray, radius: float, shape: tuple[int, int]
) -> np.ndarray:
    """Base and accent color by the category's pattern, with a little wear, [h, w, 3]."""
    y, x = np.arange(shape[0])[:, None] - center[1], np.arange(shape[1])[None] - center[0]
    back = np.linalg.inv(frame) / radius * dice.uniform(0.88, 1.14)
    slide = 0.3 if toy.category.texture == "ringed" else 8.0
    shift = dice.uniform(-slide, slide, 2)
    u = (back[0, 0] * x + back[0, 1] * y + shift[0]).astype(np.float32)
    v = (back[1, 0] * x + back[1, 1] * y + shift[1]).astype(np.float32)
    share = PATTERNS[toy.category.texture](u, v, dice.random((16, 16, 3), np.float32))[..., None]
    base = np.array(colorsys.hsv_to_rgb(toy.hue % 1, toy.saturation, toy.value), np.float32)
    accent = np.array(ACCENTS[toy.category.accent], np.float32) * np.float32(dice.uniform(0.88, 1.05))
    wear = 0.96 + 0.08 * noise(dice, *shape, 4, 3)[..., None]
    return (base + (accent - base) * share) * wear


def _relief(alpha: np.ndarray, radius: float, light: float) -> tuple[np.ndarray, np.ndarray]:
    """Shading factor and highlight of a puffed-up surface lit from the direction `light`, both [h, w, 1]."""
    depth = cv2.distanceTransform((alpha > 0.5).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) / radius
    rim = np.clip(depth / 0.42, 0, 1)
    dome = cv2.GaussianBlur(0.4 * radius * np.sqrt(1 - (1 - rim) ** 2), (0, 0), radius * 0.05)
    dy, dx = np.gradient(dome)
    tilt = np.sqrt(1 + dx * dx + dy * dy)
    towards = np.float32(np.cos(light)), np.float32(np.sin(light))
    slope = -(dx * towards[0] + dy * towards[1])
    diffuse = np.clip((0.62 * slope + 0.785) / tilt, 0, 1)
    glance = np.clip((0.328 * slope + 0.945) / tilt, 0, 1)
    shine = 0.55 * glance**45 * np.clip(1 - 1.6 * depth, 0, 1)
    return (0.38 + 0.78 * diffuse)[..., None], shine[..., None]
