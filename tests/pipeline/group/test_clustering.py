"""Groups of embeddings: found, numbered by size, the same in any order, and none where there is none."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.group import clustering
from pipeline.group.clustering import UNSORTED, find_groups
from pipeline.group.config import GroupConfig
from pipeline.group.embeddings import Embeddings
from pipeline.group.scores import score_grouping

CONFIG = GroupConfig()


def embed(vectors, hashes=None):
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    hashes = np.random.default_rng(9).integers(-(2**63), 2**63, len(vectors)) if hashes is None else hashes
    names = [f"{number:04d}" for number in range(len(vectors))]
    return Embeddings(pa.table({"group": ["all"] * len(names), "name": names}), vectors.astype(np.float16), hashes)


def blobs(sizes, spread=0.3, seed=0):
    """Points around centers that are far apart, and the number of the center of each."""
    random = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    centers = np.linalg.qr(random.normal(size=(48, 48)))[0][: len(sizes)]
    return centers[truth] + random.normal(size=(len(truth), 48)) * spread / 48**0.5, truth


def test_groups_are_found_and_numbered_from_the_largest():
    vectors, truth = blobs([7, 30, 12, 18])
    labels = find_groups(embed(vectors), CONFIG).labels
    scores = score_grouping([str(one) for one in truth], [None if one < 0 else str(one) for one in labels])
    assert scores.bcubed_f > 0.9 and scores.purity == 1
    counts = np.bincount(labels[labels >= 0])
    assert sorted(counts, reverse=True) == counts.tolist() and len(counts) == 4


def test_the_order_of_the_photographs_does_not_matter():
    vectors, _ = blobs([9, 30, 12, 18])
    order = np.random.default_rng(3).permutation(len(vectors))
    straight, shuffled = find_groups(embed(vectors), CONFIG), find_groups(embed(vectors[order]), CONFIG)
    assert shuffled.labels.tolist() == straight.labels[order].tolist()
    assert np.abs(shuffled.confidence - straight.confidence[order]).max() < 1e-4


def test_photographs_that_have_nothing_in_common_are_unsorted():
    found = find_groups(embed(np.linalg.qr(np.random.default_rng(0).normal(size=(60, 60)))[0]), CONFIG)
    assert (found.labels == UNSORTED).mean() > 0.8 and not found.confidence[found.labels == UNSORTED].any()


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_too_few_photographs_are_unsorted(count):
    found = find_groups(embed(np.random.default_rng(0).normal(size=(count, 48))), CONFIG)
    assert found.labels.tolist() == [UNSORTED] * count


def test_500_copies_of_one_photograph_are_one_group():
    vectors = np.tile(np.random.default_rng(0).normal(size=(1, 48)), (500, 1))
    found = find_groups(embed(vectors, np.full(500, 5)), CONFIG)
    assert set(found.labels) == {0} and set(found.confidence) == {1.0} and set(found.copy_of) == {0}


def test_copies_follow_their_photograph():
    vectors, truth = blobs([20, 20])
    random = np.random.default_rng(9).integers(-(2**63), 2**63, 40)
    more = embed(np.concatenate([vectors, vectors[:6]]), np.concatenate([random, random[:6]]))
    found = find_groups(more, CONFIG)
    assert found.labels[40:].tolist() == found.labels[:6].tolist() and found.copy_of[40:].tolist() == list(range(6))
    assert len(truth) == 40 and len(set(found.labels) - {UNSORTED}) == 2


def test_many_photographs_are_gathered_first_with_nearly_the_same_groups(monkeypatch):
    vectors, truth = blobs([300, 200, 250, 150])
    monkeypatch.setattr(clustering, "MAX_POINTS", 400)
    labels = find_groups(embed(vectors), GroupConfig(min_group_size=20)).labels
    scores = score_grouping([str(one) for one in truth], [None if one < 0 else str(one) for one in labels])
    assert scores.bcubed_f > 0.9


def test_scores_of_known_groupings():
    truth = ["a", "a", "a", "b", "b"]
    perfect = score_grouping(truth, ["1", "1", "1", "2", "2"])
    assert perfect.bcubed_f == perfect.ari == perfect.nmi == perfect.purity == 1 and perfect.unsorted == 0
    one = score_grouping(truth, ["1"] * 5)
    assert one.bcubed_precision == pytest.approx((3 * 3 / 5 + 2 * 2 / 5) / 5) and one.bcubed_recall == 1
    assert one.ari == 0 and one.purity == pytest.approx(3 / 5)
    none = score_grouping(truth, [None] * 5)
    assert none.bcubed_precision == 1 and none.bcubed_recall == pytest.approx((3 / 3 + 2 / 2) / 5)
    assert none.unsorted == 1 and none.purity == 0
    with pytest.raises(ValueError, match="no photograph"):
        score_grouping([], [])
