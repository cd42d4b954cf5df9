"""Zoomed views show the object larger, and image, SISM and mask show the same place."""

import numpy as np
import pytest

from pipeline.train.zoom import AREAS, MIN_SIDE, zoom

SIDE = 64


def make_views(top, left, height, width):
    """An image whose pixels tell their place, a SISM of the mask's object, and the mask."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[top : top + height, left : left + width] = 255
    return [np.stack([rows * 4, columns * 4, mask], axis=2).astype(np.uint8), mask // 2, mask]


def zooms(views, count=40):
    return [zoom(np.random.default_rng(seed), views) for seed in range(count)]


def share(mask):
    return (mask > 127).mean()


def test_a_small_object_becomes_larger_and_stays_in_view():
    views = make_views(34, 6, 20, 20)
    found = zooms(views)
    for image, sism, mask in found:
        assert image.shape == views[0].shape and sism.shape == mask.shape == (SIDE, SIDE)
        assert share(views[2]) < share(mask) <= min(AREAS[1], share(views[2]) / MIN_SIDE**2) + 0.05
        assert np.array_equal(mask // 2, sism) or np.abs(mask / 2 - sism).max() < 2
        assert np.abs(image[..., 2].astype(int) - mask).max() < 2
    assert np.std([share(mask) for _, _, mask in found]) > 0.02


def test_views_are_squares_of_the_image_that_keep_their_proportions():
    for image, *_ in zooms(make_views(20, 20, 10, 10)):
        down, right = (np.ptp(image[..., channel].astype(int)) for channel in (0, 1))
        assert down == pytest.approx(right, abs=8)
        assert MIN_SIDE * 0.8 < down / (4 * SIDE) < 1


def test_an_image_with_a_large_object_or_none_loses_only_a_margin():
    for views in (make_views(2, 2, 60, 60), make_views(0, 0, 0, 0)):
        for image, *_ in zooms(views, 10):
            assert np.ptp(image[..., 0].astype(int)) > 0.7 * 4 * SIDE


def test_the_same_draw_gives_the_same_view():
    views = make_views(10, 30, 9, 20)
    for one, other in zip(zooms(views, 5), zooms(views, 5), strict=True):
        assert all(np.array_equal(*pair) for pair in zip(one, other, strict=True))
