"""`field` is the convention of published tables: it is checked against PySODMetrics and against a second program."""

import numpy as np
import py_sod_metrics as sod
import pytest

from pipeline.metrics import pysod, score
from pipeline.metrics.aggregate import Scores
from tests.pipeline.metrics import plain


def make_pair(seed, height=45, width=60):
    """A map of random values in a random range, and a random rectangle as mask."""
    random = np.random.default_rng(seed)
    low, high = sorted(random.choice(256, 2, replace=False))
    mask = np.zeros((height, width), np.uint8)
    row, column = random.integers(2, height - 12), random.integers(2, width - 12)
    mask[row : row + random.integers(3, 12), column : column + random.integers(3, 12)] = 255
    found = random.integers(low, high + 1, mask.shape)
    return np.where(mask > 0, np.maximum(found, (low + high) // 2), found).astype(np.uint8), mask


PAIRS = [make_pair(seed) for seed in range(12)]


def by_default(pairs):
    """PySODMetrics as it is used without options: uint8 maps and masks, and its own normalization."""
    handlers = {"f": sod.FmeasureHandler(True, True, beta=0.3), "iou": sod.IOUHandler(True, False)}
    f, e, s, w, mae = sod.FmeasureV2(handlers), sod.Emeasure(), sod.Smeasure(), sod.WeightedFmeasure(), sod.MAE()
    for found, mask in pairs:
        for measure in (f, e, s, w, mae):
            measure.step(found, mask)
    f, e = f.get_results(), e.get_results()["em"]
    found = {"max_f": f["f"]["dynamic"].max(), "mean_f": f["f"]["dynamic"].mean(), "adaptive_f": f["f"]["adaptive"]}
    found |= {"max_e": e["curve"].max(), "mean_e": e["curve"].mean(), "adaptive_e": e["adp"]}
    found |= {"s": s.get_results()["sm"], "weighted_f": w.get_results()["wfm"], "mae": mae.get_results()["mae"]}
    return found | {"iou": f["iou"]["dynamic"].max()}


def in_field(pairs):
    scored = [pysod.score_map(*pair, convention=score.FIELD) for pair in pairs]
    return Scores.of((("g", str(number)), one) for number, one in enumerate(scored)).overall()


@pytest.mark.parametrize("pair", PAIRS)
def test_scores_of_an_image_in_the_field_are_those_of_pysodmetrics(pair):
    found = pysod.score_map(*pair, convention=score.FIELD).metrics()
    assert found.keys() == by_default([pair]).keys()
    assert found == pytest.approx(by_default([pair]), abs=1e-6)


def test_scores_of_a_dataset_in_the_field_are_those_of_pysodmetrics():
    assert in_field(PAIRS) == pytest.approx(by_default(PAIRS), abs=1e-6)


def test_scores_in_the_field_are_those_of_a_second_implementation():
    ours, theirs = in_field(PAIRS), plain.score(PAIRS)
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("value", [0, 90, 255])
def test_a_map_of_one_value_is_not_stretched(value):
    pair = np.full((45, 60), value, np.uint8), PAIRS[0][1]
    assert in_field([pair]) == pytest.approx(by_default([pair]), abs=1e-6)
    first, second = (pysod.score_map(*pair, convention=one) for one in score.CONVENTIONS)
    assert np.array_equal(first.numbers, second.numbers) and np.array_equal(first.curves, second.curves)


def test_the_two_conventions_agree_on_maps_that_have_the_full_range():
    full = [
        (np.where(found == found.max(), 255, np.where(found == found.min(), 0, found)), mask) for found, mask in PAIRS
    ]
    for found, mask in full:
        first, second = (pysod.score_map(found.astype(np.uint8), mask, convention=one) for one in score.CONVENTIONS)
        assert np.array_equal(first.numbers, second.numbers) and np.array_equal(first.curves, second.curves)


def test_the_two_conventions_differ_on_faint_maps():
    mask = PAIRS[0][1]
    paper, field = (pysod.score_map(mask // 4, mask, convention=one).metrics() for one in score.CONVENTIONS)
    assert field["mae"] == 0 and paper["mae"] == pytest.approx(0.75 * (mask > 0).mean(), abs=0.01)


def test_pixels_without_a_label_do_not_change_how_a_map_is_stretched():
    found, mask = PAIRS[0]
    void = np.zeros_like(mask)
    void[:, 50:] = 255
    changed = found.copy()
    changed[:, 50:] = 255 - changed[:, 50:]
    changed[0, 59], changed[1, 59] = 0, 255
    first, second = (pysod.score_map(one, mask, void, score.FIELD) for one in (found, changed))
    assert np.array_equal(first.numbers, second.numbers) and np.array_equal(first.curves, second.curves)
