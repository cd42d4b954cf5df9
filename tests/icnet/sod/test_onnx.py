"""Networks exported to ONNX, with a real one: U2NetP."""

import cv2
import numpy as np
import pytest
from PIL import Image

from icnet import images, sod
from icnet.sod import base, onnx

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def weights(shared):
    return shared / "weights" / "u2netp.onnx"


@pytest.fixture(scope="module")
def photograph(shared):
    file = sorted((shared / "data" / "pascal_coseg" / "images").glob("*/*.jpg"))[0]
    return images.decode(file.read_bytes())


def by_hand(weights, photograph, output=0):
    resized = cv2.resize(photograph.astype(np.float32) / 255, (320, 320))
    x = (resized / resized.max() - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    session = onnxruntime.InferenceSession(weights)
    raw = session.run(None, {"input.1": x.transpose(2, 0, 1)[None].astype(np.float32)})[output][0, 0]
    gray = Image.fromarray(((raw - raw.min()) / (raw.max() - raw.min()) * 255).astype(np.uint8))
    return np.asarray(gray.resize(photograph.shape[1::-1], Image.Resampling.BILINEAR)) / 255


def test_the_defaults_are_u2nets_and_the_map_is_onnxruntimes(weights, photograph):
    assert min(photograph.shape[:2]) < 320
    large = photograph.repeat(2, 0).repeat(2, 1)
    saliency = sod.make_method(f"onnx:{weights}")(large)
    assert saliency.dtype == np.float32
    np.testing.assert_allclose(saliency, by_hand(weights, large), rtol=0, atol=1 / 255 + 1e-6)
    assert np.mean(abs(saliency - by_hand(weights, large))) < 1e-4


def test_another_output_and_a_plain_probability_can_be_asked_for(weights, photograph):
    first, other, plain = (
        sod.make_method(f"onnx:{weights}?{options}")
        for options in ("input=input.1&size=320&output=0&normalize=u2net", "output=6", "map=probability")
    )
    maps = [method(photograph) for method in (first, other, plain)]
    assert abs(maps[0] - maps[1]).max() > 0.1
    assert 0 < abs(maps[0] - maps[2]).max() < 0.05
    assert len({first.identity, other.identity, plain.identity}) == 3


def test_a_batch_gives_each_image_the_map_that_it_gets_alone(weights, photograph):
    method = sod.make_method(f"onnx:{weights}")
    pictures = [photograph, photograph[:1, :1], np.zeros((4, 5, 3), np.uint8)]
    for picture, saliency in zip(pictures, method.batch(pictures, [("", "")] * 3), strict=True):
        assert saliency.shape == picture.shape[:2] and np.isfinite(saliency).all()
        np.testing.assert_array_equal(saliency, method(picture))


def test_the_identity_follows_the_weights_not_their_path(weights, tmp_path):
    (tmp_path / "renamed.onnx").write_bytes(weights.read_bytes())
    assert sod.make_method(f"onnx:{tmp_path / 'renamed.onnx'}").identity == sod.make_method(f"onnx:{weights}").identity


@pytest.mark.parametrize(
    ("options", "complaint"),
    {
        "input=image": "no input 'image'; there are input.1",
        "output=9": "no output 9; there are 7",
        "size=256": r"input 'input\.1' is a tensor\(float\) \[1, 3, 320, 320\], not float of 256 px",
        "size=big": "option 'size': .*integer",
        "normalize=none": "option 'normalize': .*'u2net', 'imagenet' or 'unit'",
    }.items(),
)
def test_an_option_that_the_network_cannot_follow_is_refused(weights, options, complaint):
    with pytest.raises(base.SodError, match=complaint):
        sod.make_method(f"onnx:{weights}?{options}")


def test_a_file_that_is_no_network_is_refused(tmp_path):
    (tmp_path / "text.onnx").write_text("weights")
    with pytest.raises(base.SodError, match=r"text\.onnx' cannot be run by onnxruntime"):
        sod.make_method(f"onnx:{tmp_path / 'text.onnx'}")


def test_logits_pass_the_sigmoid():
    np.testing.assert_allclose(onnx.read(np.array([[0.0, 100.0], [0.0, -100.0]]), "logit", (2, 2))[:, 1], [1, 0])
