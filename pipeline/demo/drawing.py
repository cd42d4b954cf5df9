"""Draw a scene: patterned toys with shading and shadows on a procedural ground, antialiased.

Canvases are float32 RGB [h, w, 3] in [0, 1], drawn `FINE` times larger than the image and averaged down at the end.
"""

import colorsys

import cv2
import numpy as np

from pipeline.demo.backgrounds import (
    draw_ground,
    draw_illumination,
    draw_leaf,
    draw_shadow,
    find_window,
    make_noise,
    scatter_litter,
)
from pipeline.demo.scene import Scene, Toy
from pipeline.demo.shapes import PATTERNS, fill_outline, get_outline, smooth_step

FINE = 2
"""Pixels of the canvas for each pixel of the image, along a side."""

ACCENTS = {
    "cream": (0.97, 0.93, 0.82),
    "dark": (0.17, 0.13, 0.17),
    "yellow": (0.98, 0.82, 0.25),
    "blue": (0.16, 0.32, 0.66),
}

Generator = np.random.Generator


def draw_scene(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Draw the image, uint8 RGB [h, w, 3], and the visible part of the group's own toy, uint8 [h, w] in {0, 255}."""
    rng = np.random.default_rng(scene.seeds)
    height, width = scene.height * FINE, scene.width * FINE
    canvas = draw_ground(rng, scene.ground, height, width)
    scatter_litter(rng, canvas, scene.light)
    visible = np.zeros((height, width), np.float32)
    for number, toy in enumerate(scene.toys):
        cover = _draw_toy(rng, canvas, toy, scene.light)
        visible = np.maximum(visible, cover) if number == scene.common else visible * (1 - cover)
    if scene.covered:
        center, radius = _locate(scene.toys[rng.integers(len(scene.toys))], height, width)
        visible *= 1 - draw_leaf(rng, canvas, center, radius, scene.light)
    canvas *= draw_illumination(rng, height, width, scene.light)
    size = (scene.width, scene.height)
    image = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)
    image += rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(0.004, 0.016))
    mask = cv2.resize(visible, size, interpolation=cv2.INTER_AREA) > 0.5
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8), mask.astype(np.uint8) * 255


def _draw_toy(rng: Generator, canvas: np.ndarray, toy: Toy, light: float) -> np.ndarray:
    """Paint a toy with its shadow; returns its cover, float32 [h, w] in [0, 1]."""
    center, radius = _locate(toy, *canvas.shape[:2])
    frame = _make_frame(toy)
    loops = [(sign, loop @ frame.T * radius + center) for sign, loop in get_outline(toy.category.shape)]
    box = find_window([loop for _, loop in loops], radius * 0.4, *canvas.shape[:2])
    part = canvas[box]
    corner = np.array([box[1].start, box[0].start])
    alpha = _soften([(sign, loop - corner) for sign, loop in loops], radius, part.shape[:2])
    draw_shadow(part, alpha, light, radius)
    color = _draw_material(rng, toy, frame, center - corner, radius, part.shape[:2])
    paint, shine = _shade_surface(alpha, radius, light)
    part += alpha[..., None] * (np.clip(color * paint + shine, 0, 1.05) - part)
    cover = np.zeros(canvas.shape[:2], np.float32)
    cover[box] = alpha
    return cover


def _locate(toy: Toy, height: int, width: int) -> tuple[np.ndarray, float]:
    """Center (x, y) and radius in px of the canvas."""
    return np.array([toy.x * width, toy.y * height]), toy.radius * float(np.sqrt(height * width))


def _make_frame(toy: Toy) -> np.ndarray:
    """The matrix from unit to image coordinates without place and size: stretch and shear, then rotate."""
    cos, sin = np.cos(toy.angle), np.sin(toy.angle)
    bend = np.array([[toy.stretch, toy.shear], [0, 1 / toy.stretch]])
    return np.array([[cos, -sin], [sin, cos]]) @ bend


def _soften(loops: list[tuple[str, np.ndarray]], radius: float, shape: tuple[int, int]) -> np.ndarray:
    """The cover of an outline with rounded corners, [h, w] in [0, 1]."""
    blurred = cv2.GaussianBlur(fill_outline(loops, shape).astype(np.float32) / 255, (0, 0), radius * 0.045)
    return smooth_step(blurred - 0.5, 0.22)


def _draw_material(
    rng: Generator, toy: Toy, frame: np.ndarray, center: np.ndarray, radius: float, shape: tuple[int, int]
) -> np.ndarray:
    """Base and accent color by the category's pattern, with some wear, [h, w, 3]."""
    y, x = np.arange(shape[0])[:, None] - center[1], np.arange(shape[1])[None] - center[0]
    back = np.linalg.inv(frame) / radius * rng.uniform(0.88, 1.14)
    slide = 0.3 if toy.category.texture == "ringed" else 8.0
    shift = rng.uniform(-slide, slide, 2)
    u = (back[0, 0] * x + back[0, 1] * y + shift[0]).astype(np.float32)
    v = (back[1, 0] * x + back[1, 1] * y + shift[1]).astype(np.float32)
    share = PATTERNS[toy.category.texture](u, v, rng.random((16, 16, 3), np.float32))[..., None]
    base = np.array(colorsys.hsv_to_rgb(toy.hue % 1, toy.saturation, toy.value), np.float32)
    accent = np.array(ACCENTS[toy.category.accent], np.float32) * np.float32(rng.uniform(0.88, 1.05))
    wear = 0.96 + 0.08 * make_noise(rng, *shape, 4, 3)[..., None]
    return (base + (accent - base) * share) * wear


def _shade_surface(alpha: np.ndarray, radius: float, light: float) -> tuple[np.ndarray, np.ndarray]:
    """Shading factor and highlight of a domed surface lit from the direction `light`, both [h, w, 1]."""
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
