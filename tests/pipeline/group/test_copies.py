"""Near-duplicates are found, and nothing else."""

import numpy as np
import pytest
from PIL import Image

from icnet import images
from pipeline.group.copies import MAX_BITS, find_copies
from pipeline.group.worker import compute_hash


def unit(rows):
    vectors = np.random.default_rng(0).normal(size=(rows, 16))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def picture(seed):
    small = np.random.default_rng(seed).integers(0, 255, (6, 6, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((224, 224), Image.Resampling.BICUBIC))


def test_a_resized_darker_copy_has_nearly_the_hash_of_its_photograph():
    for seed in range(20):
        photograph = picture(seed)
        again = images.resize(images.resize(photograph, (90, 120)), (224, 224))
        darker = (again * 0.9).astype(np.uint8)
        other = compute_hash(picture(seed + 100))
        bits = [bin((compute_hash(photograph) ^ one) & (2**64 - 1)).count("1") for one in (compute_hash(darker), other)]
        assert bits[0] <= MAX_BITS < bits[1]


def test_photographs_with_near_hashes_and_embeddings_are_copies_of_the_first():
    hashes = np.array([0b1111, 0x3FF << 40, 0b1011, -1, 0b1110, (0x3FF << 40) | (0b11111 << 10)], np.int64)
    vectors = np.tile(unit(1), (6, 1))
    assert find_copies(hashes, vectors, 0.97).tolist() == [0, 1, 0, 3, 0, 5]


def test_photographs_that_look_alike_but_show_other_objects_are_no_copies():
    hashes = np.zeros(3, np.int64)
    assert find_copies(hashes, unit(3), 0.97).tolist() == [0, 1, 2]


@pytest.mark.parametrize("count", [0, 1, 500])
def test_any_number_of_copies_of_one_photograph_is_one(count):
    copies = find_copies(np.full(count, 7, np.int64), np.tile(unit(1), (count, 1)), 0.97)
    assert copies.tolist() == [0] * count


def test_all_near_pairs_are_found_as_by_comparing_everything():
    random = np.random.default_rng(1)
    hashes = random.integers(-(2**63), 2**63, 60)
    bits = [random.choice(63, random.integers(0, 7), replace=False).tolist() for _ in range(60)]
    flips = [sum(1 << bit for bit in some) for some in bits]
    hashes = np.concatenate([hashes, hashes ^ np.array(flips, np.int64)])
    found = find_copies(hashes, np.tile(unit(1), (120, 1)), 0.97)
    near = np.bitwise_count(hashes[:, None].astype(np.uint64) ^ hashes.astype(np.uint64)) <= MAX_BITS
    expected = np.arange(120)
    for _ in range(120):  # the smallest position that is reached by near pairs
        expected = np.where(near, expected, 999).min(axis=1)
    assert found.tolist() == expected.tolist()
