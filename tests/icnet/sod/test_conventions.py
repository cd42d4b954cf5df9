"""Images in and maps out, against arrays made with the libraries that the networks' authors call."""

from functools import partial

import numpy as np
import pytest
import torch

from icnet.sod import cpd, egnet, f3net, preprocessing

FEEDS = {
    "EGNet_bgr_minus_mean": egnet.prepare,
    "U2Net_resize320_aa0": partial(
        preprocessing.make_square_input, size=320, normalize=preprocessing.normalize_by_maximum
    ),
    "BASNet_resize256_aa0": partial(
        preprocessing.make_square_input, size=256, normalize=preprocessing.normalize_by_maximum
    ),
    "F3Net_352": f3net.prepare,
    "CPD_352": cpd.prepare,
}


@pytest.fixture(scope="module")
def examples(references):
    return np.load(references / "prepost.npz")


@pytest.mark.parametrize("name", FEEDS)
def test_a_network_is_fed_as_its_authors_feed_it(examples, name):
    image = examples["img_rgb"]
    np.testing.assert_allclose(FEEDS[name](image)[:, ::8, ::8], examples[name], rtol=0, atol=2e-5)
    network, _, how = name.partition("_")
    if network != "EGNet":
        large = image.repeat(4, 0).repeat(4, 1)
        np.testing.assert_allclose(FEEDS[name](large)[:, ::8, ::8], examples[f"{network}_big_{how}"], rtol=0, atol=2e-5)


def test_a_probability_is_stretched_and_resized_in_8_bit_as_by_the_authors(examples):
    read = preprocessing.read_stretched(torch.from_numpy(examples["map64"])[None], (150, 201))
    np.testing.assert_array_equal(np.rint(read.numpy() * 255), examples["U2Net_post_u8"])


def test_logits_are_resized_before_the_sigmoid_and_the_stretch(examples):
    read = preprocessing.read_stretched_logit(torch.from_numpy(examples["logit64"])[None], (150, 201))
    np.testing.assert_allclose(read.numpy(), examples["CPD_post"], rtol=0, atol=1e-6)


def test_a_constant_map_and_a_black_image_stay_finite():
    assert not preprocessing.stretch_map(np.full((4, 4), 0.7, np.float32), (5, 6)).any()
    assert not preprocessing.read_stretched_logit(torch.ones(1, 4, 4), (5, 6)).any()
    black = preprocessing.make_square_input(np.zeros((5, 7, 3), np.uint8), 8, preprocessing.normalize_by_maximum)
    assert np.isfinite(black).all()


def test_an_image_is_shrunk_to_its_longer_side_and_never_enlarged():
    image = np.random.RandomState(0).randint(0, 256, (40, 60, 3)).astype(np.uint8)
    assert preprocessing.limit_side(image, 30).shape == (20, 30, 3)
    assert preprocessing.limit_side(image[:1], 30).shape == (1, 30, 3)
    assert preprocessing.limit_side(image, 60) is image and preprocessing.limit_side(image, 0) is image
    assert egnet.prepare(image, longest=30).shape == (3, 20, 30)
