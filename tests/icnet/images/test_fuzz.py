"""Damaged files: a fuzzer with a fixed seed mutates a corpus of valid files and runs every decoder on them."""

import random
import warnings
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from PIL import Image

from icnet import images
from tests.helpers import badfiles

DECODERS = (images.read_size, images.decode, images.decode_gray, images.decode_mask)

LARGEST = 1_000_000
"""Pixels above which a damaged header counts as a decompression bomb here, so that the fuzzer stays fast."""

Mutation = Callable[[random.Random, bytearray], bytearray]


@cache
def corpus() -> list[bytes]:
    """Valid files of every supported format, and files that are not images."""
    picture = badfiles.photograph()
    formats = [("PPM", {}), ("BMP", {}), ("JPEG2000", {}), ("AVIF", {}), ("WEBP", {}), ("TIFF", {})]
    formats += [("TIFF", {"compression": name}) for name in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")]
    made = [badfiles.file(picture, name, **options) for name, options in formats]
    return [*badfiles.odd_but_good().values(), *(data for data, _ in badfiles.not_pictures().values() if data), *made]


def change_bytes(dice: random.Random, data: bytearray) -> bytearray:
    for _ in range(dice.randint(1, 8)):
        data[dice.randrange(len(data))] = dice.randrange(256)
    return data


def change_header(dice: random.Random, data: bytearray) -> bytearray:
    for _ in range(dice.randint(1, 4)):
        data[dice.randrange(min(len(data), 120))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF))
    return data


def truncate(dice: random.Random, data: bytearray) -> bytearray:
    return data[: dice.randrange(len(data))]


def fill_with_zeros(dice: random.Random, data: bytearray) -> bytearray:
    start = dice.randrange(len(data))
    stop = min(len(data), start + dice.randint(1, 400))
    data[start:stop] = bytes(stop - start)
    return data


def repeat_part(dice: random.Random, data: bytearray) -> bytearray:
    start, length = dice.randrange(len(data)), dice.randint(1, 200)
    return data[: start + length] + data[start:]


def remove_part(dice: random.Random, data: bytearray) -> bytearray:
    start = dice.randrange(len(data))
    del data[start : start + dice.randint(1, 60)]
    return data


def join_two(dice: random.Random, data: bytearray) -> bytearray:
    other = dice.choice(corpus())
    return data[: dice.randrange(len(data))] + other[dice.randrange(len(other)) :]


MUTATIONS: tuple[Mutation, ...] = (
    change_bytes,
    change_header,
    truncate,
    fill_with_zeros,
    repeat_part,
    remove_part,
    join_two,
)


def mutate(seed: int, files: list[bytes]) -> bytes:
    dice = random.Random(seed)
    data = bytearray(dice.choice(files))
    for _ in range(dice.randint(1, 3)):
        if data:
            data = dice.choice(MUTATIONS)(dice, data)
    return bytes(data)


def check(seed: int, data: bytes) -> int:
    """Run every decoder; returns how many of them refused the file."""
    refused = 0
    for decoder in DECODERS:
        try:
            found = decoder(data)
        except images.ImageError as error:
            assert str(error) and "\n" not in str(error), seed
            refused += 1
            continue
        if decoder is images.read_size:
            assert min(found) > 0, seed
        else:
            assert isinstance(found, np.ndarray) and found.dtype == np.uint8 and found.size, seed
    return refused


def fuzz(seeds: range, monkeypatch) -> int:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", LARGEST // 2)
    files = corpus()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sum(check(seed, mutate(seed, files)) for seed in seeds)


def test_damaged_files_are_decoded_or_refused_with_one_sentence_and_nothing_else(monkeypatch):
    refused = fuzz(range(400), monkeypatch)
    assert 0 < refused < 400 * len(DECODERS)


@pytest.mark.slow
def test_thousands_of_damaged_files_are_decoded_or_refused_with_one_sentence(monkeypatch):
    fuzz(range(1_000, 6_000), monkeypatch)
