"""Pasted objects: image, SISM, mask and stored features of the object move together."""

import numpy as np
import pytest

from pipeline.train.pasting import paste, paste_objects

SIDE, CELLS = 32, 8
UNIT = SIDE // CELLS


def make_member(value, top, left, side, features=True):
    """A flat image of a value with a brighter square object; each cell of the features has the mean of its pixels."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[top : top + side, left : left + side] = 255
    image = np.repeat(np.where(mask > 0, value + 1, value)[..., None], 3, axis=2).astype(np.uint8)
    member = [image, (mask * 0.8).astype(np.uint8), mask]
    if features:
        cells = image[..., :2].reshape(CELLS, UNIT, CELLS, UNIT, 2).mean(axis=(1, 3))
        member.append(cells.astype(np.float16))
    return member


SCENE, OTHER = make_member(10, 4, 4, 8), make_member(100, 16, 8, 12)


def draws(count=30):
    return [np.random.default_rng(seed) for seed in range(count)]


@pytest.mark.parametrize("features", [True, False])
def test_the_object_is_pasted_whole_with_its_sism_and_its_features(features):
    scene, other = make_member(10, 4, 4, 8, features), make_member(100, 16, 8, 12, features)
    places = set()
    for draw in draws():
        (image, sism, mask, *stored), inside = paste(draw, scene, other)
        assert inside.sum() == 12 * 12 and np.array_equal(mask > 127, inside)
        assert (image[inside] == 101).all() and np.array_equal(image[~inside], scene[0][~inside])
        assert (sism[inside] == 204).all() and np.array_equal(sism[~inside], scene[1][~inside])
        for cells in stored:
            covered = inside.reshape(CELLS, UNIT, CELLS, UNIT).all(axis=(1, 3))
            assert (cells[covered] == 101).all() and np.array_equal(cells[~covered], scene[3][~covered])
        places.add(tuple(np.argwhere(inside)[0].tolist()))
    assert len(places) > 10


def test_a_cell_that_the_object_covers_by_half_or_less_keeps_its_features():
    other = make_member(100, 18, 8, 12)  # rows 18 to 29: half of the first cell's and half of the last cell's
    (_, _, _, cells), inside = paste(np.random.default_rng(0), SCENE, other)
    shares = inside.reshape(CELLS, UNIT, CELLS, UNIT).mean(axis=(1, 3))
    assert (shares == 0.5).any()
    assert np.array_equal(cells[shares <= 0.5], SCENE[3][shares <= 0.5])
    assert (cells[shares > 0.5] > 99).all()


def test_in_a_pasted_group_the_mask_shows_the_pasted_object_alone():
    members = [make_member(100 + 10 * number, 16, 8, 12) for number in range(3)]
    made = paste_objects(np.random.default_rng(1), members, lambda: SCENE, 1.0, 0.0)
    for (image, _, mask, *_), member in zip(made, members, strict=True):
        assert (image[mask > 127] == member[0].max()).all()
        assert (image[mask <= 127] <= SCENE[0].max()).all()


def test_a_distractor_is_in_image_and_sism_but_not_in_the_mask():
    for draw in draws():
        (made,) = paste_objects(draw, [SCENE], lambda: OTHER, 0.0, 1.0)
        image, sism, mask, *_ = made
        strange = image[..., 0] == 101
        assert strange.sum() == 12 * 12 and (sism[strange] == 204).all() and not mask[strange].any()
        assert np.array_equal(mask[~strange], SCENE[2][~strange])


def test_objects_that_are_too_small_or_too_large_are_not_pasted():
    for other in (make_member(100, 0, 0, 2), make_member(100, 0, 0, 30), make_member(100, 0, 0, 0)):
        (kept,) = paste_objects(np.random.default_rng(0), [SCENE], lambda other=other: other, 0.0, 1.0)
        assert all(np.array_equal(*pair) for pair in zip(kept, SCENE, strict=True))
        (kept,) = paste_objects(np.random.default_rng(0), [other], lambda: SCENE, 1.0, 0.0)
        assert all(np.array_equal(*pair) for pair in zip(kept, other, strict=True))


def test_shares_are_about_those_that_are_asked_for():
    pasted = [paste_objects(draw, [OTHER], lambda: SCENE, 0.3, 0.0)[0][0].min() == 10 for draw in draws(200)]
    assert 0.2 < np.mean(pasted) < 0.4
    changed = [paste_objects(draw, [SCENE], lambda: OTHER, 0.0, 0.3)[0][0].max() == 101 for draw in draws(200)]
    assert 0.2 < np.mean(changed) < 0.4
