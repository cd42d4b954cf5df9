"""Refined maps follow the edges of their photographs."""

import numpy as np
import pytest

from icnet import images
from icnet.images.refine import MAX_SIDE, refine


def make_disk(side):
    """A red disk on a textured ground, its exact map, and the map as a network of a tenth of the size gives it."""
    y, x = np.mgrid[:side, :side]
    disk = (x - side * 0.45) ** 2 + (y - side * 0.55) ** 2 < (side * 0.3) ** 2
    noise = np.random.default_rng(0).integers(0, 25, (side, side, 3))
    image = np.where(disk[..., None], [200, 40, 40], [60, 110, 60]) + noise
    exact = disk.astype(np.uint8) * 255
    coarse = images.resize(images.resize(exact, (side // 10, side // 10)), (side, side))
    return image.astype(np.uint8), exact, coarse


def count_errors(saliency, exact):
    """Pixels on the wrong side of the threshold 128."""
    return ((saliency >= 128) != (exact >= 128)).sum()


@pytest.mark.parametrize("side", [200, MAX_SIDE + 60])
def test_a_refined_map_is_nearer_to_the_exact_one(side):
    image, exact, coarse = make_disk(side)
    refined = refine(coarse, image)
    assert (refined.dtype, refined.shape) == (np.uint8, exact.shape)
    assert count_errors(refined, exact) < 0.5 * count_errors(coarse, exact)


@pytest.mark.parametrize("value", [0, 130, 255])
def test_a_map_of_one_value_stays_as_it_is(value):
    image, _, _ = make_disk(90)
    saliency = np.full(image.shape[:2], value, np.uint8)
    assert np.abs(refine(saliency, image).astype(int) - value).max() <= 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (3, 2)])
def test_photographs_of_any_shape_are_refined(shape):
    image = np.zeros((*shape, 3), np.uint8)
    assert refine(np.full(shape, 9, np.uint8), image).shape == shape
