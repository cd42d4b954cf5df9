from io import BytesIO

import numpy as np
from PIL import Image

from icnet import images
from pipeline import gallery
from pipeline.gallery import errors

FOUND = np.array([[0, 127, 128, 255], [127, 128, 0, 255]], np.uint8)
MASK = np.array([[0, 255, 255, 0], [128, 129, 255, 255]], np.uint8)
VOID = np.array([[0, 0, 0, 0], [0, 0, 129, 128]], np.uint8)


def read_rgba(content):
    with Image.open(BytesIO(content)) as picture:
        return np.asarray(picture.convert("RGBA"))


def test_each_pixel_is_right_missed_wrong_or_without_a_label():
    assert errors.classify_pixels(FOUND, MASK, VOID).tolist() == [
        [errors.BACKGROUND, errors.MISSED, errors.OBJECT, errors.WRONG],
        [errors.BACKGROUND, errors.OBJECT, errors.UNLABELED, errors.OBJECT],
    ]
    assert errors.classify_pixels(FOUND, MASK)[1, 2] == errors.MISSED


def test_errors_have_exactly_the_colors_of_the_legend():
    kinds = errors.classify_pixels(FOUND, MASK, VOID)
    pixels = read_rgba(errors.encode_errors(kinds))
    for kind, color in errors.COLORS.items():
        assert {tuple(pixel) for pixel in pixels[kinds == kind].tolist()} == {(*color, errors.OPACITIES[kind])}


def test_embedded_errors_are_those_at_the_size_of_the_sample():
    mask, found = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    mask[:, :4], found[:4] = 255, 255
    sample = {"image": images.encode(np.zeros((8, 8, 3), np.uint8)), "sism": images.encode(mask)}
    sample |= {"mask": images.encode(mask), "height": 8, "width": 8}
    drawn = gallery.embed_thumbnails(sample, images.encode(found))
    pixels = read_rgba(drawn.errors)
    assert pixels[0, 0, 3] == 0 and pixels[7, 7].tolist() == [0, 0, 0, 115]
    assert pixels[7, 0].tolist() == [*errors.COLORS[errors.MISSED], 255]
    assert pixels[0, 7].tolist() == [*errors.COLORS[errors.WRONG], 255]
    unlabelled = gallery.embed_thumbnails({**sample, "mask": None}, images.encode(found))
    assert unlabelled.mask is None and unlabelled.errors is None


def simulate_color_blindness(color, kind):
    """What people without red (protan), green (deutan) or any color vision see, by Vienot, Brettel and Mollon, 1999."""
    matrices = {
        "protan": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
        "deutan": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
        "none": [[0.2126, 0.7152, 0.0722]] * 3,
    }
    return np.array(matrices[kind]) @ (np.array(color) / 255) ** 2.2


def test_missed_and_wrong_pixels_differ_for_color_blind_people():
    for kind in ("protan", "deutan", "none"):
        missed, wrong = (simulate_color_blindness(errors.COLORS[one], kind) for one in (errors.MISSED, errors.WRONG))
        assert np.abs(missed - wrong).max() > 0.2
