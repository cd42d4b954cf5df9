"""Arrays are resized, encoded and converted to network input."""

import numpy as np
import pytest
import torch
from PIL import Image

from icnet import images
from icnet.images.encoded import decode_encoded
from tests.helpers import badfiles

PHOTO = badfiles.photograph()
RGB = np.asarray(PHOTO)
GRAY = np.asarray(PHOTO.convert("L"))


def test_resizing_is_bilinear_and_antialiased():
    small = images.resize(RGB, (12, 16))
    assert small.shape == (12, 16, 3) and small.dtype == np.uint8
    assert np.array_equal(small, np.asarray(PHOTO.resize((16, 12), Image.Resampling.BILINEAR)))
    lines = np.zeros((64, 64), np.uint8)
    lines[:, ::2] = 255
    assert abs(images.resize(lines, (16, 16)).astype(int) - 127)[:, 1:-1].max() <= 2
    assert images.resize(GRAY, GRAY.shape) is GRAY


@pytest.mark.parametrize("array", [RGB, GRAY], ids=["color", "gray"])
def test_encoding_is_lossless_and_gives_the_same_bytes_each_time(array):
    data = images.encode(array)
    assert data == images.encode(array.copy())
    read = images.decode if array.ndim == 3 else images.decode_gray
    assert np.array_equal(read(data), array)
    assert np.array_equal(decode_encoded(memoryview(data)), array)


@pytest.mark.parametrize("data", [b"", b"no image", images.encode(RGB)[:20]])
def test_bytes_that_were_not_encoded_here_are_an_error(data):
    with pytest.raises(images.ImageError, match="cannot be decoded"):
        decode_encoded(data)


def test_network_input_is_normalized_by_imagenets_mean_and_deviation():
    batch = np.stack([RGB, RGB[::-1]])
    tensor = images.normalize(batch)
    assert tensor.shape == (2, 3, *badfiles.SIZE) and tensor.dtype == torch.float32 and tensor.is_contiguous()
    expected = (RGB[5, 7] / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    assert np.allclose(tensor[0, :, 5, 7], expected, atol=1e-6)


def test_maps_are_scaled_to_the_unit_interval_and_back_without_loss():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    tensor = images.scale_maps(levels)
    assert tensor.shape == (1, 1, 16, 16) and tensor.min() == 0 and tensor.max() == 1
    assert np.array_equal(images.quantize(tensor[0, 0]), levels[0])
    assert images.quantize(np.array([[-0.1, 0.4999 / 255, 0.51 / 255, 1.1]])).tolist() == [[0, 0, 1, 255]]
