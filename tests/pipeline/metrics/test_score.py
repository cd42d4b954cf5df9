import numpy as np
import py_sod_metrics as sod
import pytest

from icnet import images
from pipeline.metrics import aggregate, pysod, score

RNG = np.random.default_rng(3)


def disc(height=60, width=80, radius=18, row=30, column=35):
    y, x = np.mgrid[:height, :width]
    return np.where((y - row) ** 2 + (x - column) ** 2 < radius**2, 255, 0).astype(np.uint8)


def noisy(mask, seed):
    noise = np.random.default_rng(seed).integers(0, 160, mask.shape)
    return np.clip(mask * 0.6 + noise, 0, 255).astype(np.uint8)


def by_hand(pairs):
    """PySODMetrics called as its documentation says, on float maps and boolean masks."""
    handlers = {"f": sod.FmeasureHandler(True, True, beta=0.3), "iou": sod.IOUHandler(True, False)}
    f, e, s, w, mae = sod.FmeasureV2(handlers), sod.Emeasure(), sod.Smeasure(), sod.WeightedFmeasure(), sod.MAE()
    for found, mask in pairs:
        for measure in (f, e, s, w, mae):
            measure.step(found / 255, mask > 128, normalize=False)
    f, e = f.get_results(), e.get_results()["em"]
    return {
        "max_f": f["f"]["dynamic"].max(),
        "mean_f": f["f"]["dynamic"].mean(),
        "adaptive_f": f["f"]["adaptive"],
        "s": s.get_results()["sm"],
        "max_e": e["curve"].max(),
        "mean_e": e["curve"].mean(),
        "adaptive_e": e["adp"],
        "weighted_f": w.get_results()["wfm"],
        "mae": mae.get_results()["mae"],
        "iou": f["iou"]["dynamic"].max(),
    }


@pytest.fixture(scope="module")
def pairs():
    masks = [disc(radius=6 + 3 * n, column=20 + 5 * n) for n in range(6)]
    return [(noisy(mask, seed), mask) for seed, mask in enumerate(masks)]


@pytest.fixture(scope="module")
def scored(pairs):
    return [((f"g{n % 3}", f"{n}"), pysod.score_map(*pair)) for n, pair in enumerate(pairs)]


def test_scores_are_those_of_pysodmetrics(pairs, scored):
    ours, theirs = aggregate.Scores.of(scored).overall(), by_hand(pairs)
    assert ours.keys() == theirs.keys() == set(score.METRICS)
    assert ours == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("size", [(32, 32), (224, 224)])
def test_scores_at_another_size_are_those_of_the_resized_maps(pairs, size):
    resized = [(images.resize(found, size), images.resize(mask, size)) for found, mask in pairs]
    ours = aggregate.Scores.of((("g", str(n)), pysod.score_map_at(*pair, size=size)) for n, pair in enumerate(pairs))
    assert ours.overall() == pytest.approx(by_hand(resized), abs=1e-9)


def test_a_map_of_another_size_is_scored_at_the_size_of_the_mask(pairs):
    found, mask = pairs[0]
    small = images.resize(found, (30, 40))
    expected = pysod.score_map(images.resize(small, mask.shape), mask)
    assert np.array_equal(pysod.score_map_at(small, mask).curves, expected.curves)


def test_a_perfect_map_scores_one():
    value = pysod.score_map(disc(), disc()).metrics()
    assert value["mae"] == 0
    assert [value[name] for name in ("max_f", "s", "max_e", "iou")] == pytest.approx([1, 1, 1, 1], abs=1e-3)
    assert value["weighted_f"] == pytest.approx(1, abs=1e-3)


def test_an_inverted_map_scores_nothing():
    value = pysod.score_map(255 - disc(), disc()).metrics()
    assert value["mae"] == 1 and value["s"] < 0.05 and value["weighted_f"] == pytest.approx(0, abs=1e-6)
    assert value["iou"] == pytest.approx((disc() > 128).mean())


@pytest.mark.parametrize("found", [np.zeros((40, 40), np.uint8), np.full((40, 40), 255, np.uint8)])
@pytest.mark.parametrize("mask", [np.zeros((40, 40), np.uint8), np.full((40, 40), 255, np.uint8)])
def test_empty_and_full_maps_and_masks_have_finite_scores(found, mask):
    value = pysod.score_map(found, mask).metrics()
    assert all(0 <= number <= 1.001 for number in value.values())
    assert value["mae"] == float(found[0, 0] != mask[0, 0])


def test_a_map_is_not_stretched_to_the_full_range():
    faint = (disc() // 4).astype(np.uint8)
    assert pysod.score_map(faint, disc()).metrics()["mae"] > 0.05


def test_void_pixels_do_not_change_a_score():
    mask, void = disc(), np.zeros((60, 80), np.uint8)
    void[:, 60:] = 255
    found = noisy(mask, 1)
    other = found.copy()
    other[:, 60:] = 255 - other[:, 60:]
    first, second = (pysod.score_map(one, mask, void) for one in (found, other))
    assert np.array_equal(first.curves, second.curves) and np.array_equal(first.numbers, second.numbers)


def test_the_order_of_images_does_not_change_a_bit(scored):
    first = aggregate.Scores.of(scored)
    second = aggregate.Scores.of(scored[::-1])
    assert np.array_equal(first.curves, second.curves) and np.array_equal(first.numbers, second.numbers)


@pytest.mark.parametrize("divided", [(1, 2, 3), (3, 2, 1), (5, 1)])
def test_sums_of_parts_are_the_sums_of_the_whole_to_the_last_bit(scored, divided):
    totals = aggregate.ScoreTotals(["empty", "g0", "g1", "g2"])
    parts = np.split(np.arange(len(scored)), np.cumsum(divided)[:-1])
    for part in parts[::-1]:
        totals.add(aggregate.Scores.of(scored[place] for place in part))
    found, whole = totals.to_scores(), aggregate.Scores.of(scored)
    assert found.groups == whole.groups and np.array_equal(found.counts, whole.counts)
    assert np.array_equal(found.curves, whole.curves) and np.array_equal(found.numbers, whole.numbers)


def test_groups_are_averaged_alone_and_each_alike():
    mask = disc()
    scored = [(("good", str(n)), pysod.score_map(mask, mask)) for n in range(3)]
    scored += [(("bad", "0"), pysod.score_map(np.zeros_like(mask), mask))]
    found = aggregate.Scores.of(scored)
    assert found.images == 4 and found.groups == ("bad", "good")
    bad = found.by_group()["bad"]["mae"]
    assert found.overall()["mae"] == pytest.approx(bad / 4)
    assert found.macro()["mae"] == pytest.approx(bad / 2)


def test_intervals_hold_the_score_and_repeat(scored):
    found = aggregate.Scores.of(scored)
    first = found.intervals(0.95, 200, seed=1)
    assert first == found.intervals(0.95, 200, seed=1)
    for name, value in found.overall().items():
        low, high = first[name]
        assert low - 1e-9 <= value <= high + 1e-9 or name.startswith(("max", "iou"))


def test_one_group_has_an_interval_of_no_width(scored):
    only = aggregate.Scores.of((("one", name), score) for (_, name), score in scored)
    low, high = only.intervals(0.95, 50, seed=0)["max_f"]
    assert low == pytest.approx(high) == pytest.approx(only.overall()["max_f"])


def test_nothing_scored_is_said_with_nothing():
    nothing = aggregate.Scores.of([])
    assert nothing.overall() == nothing.macro() == nothing.by_group() == nothing.intervals(0.9, 10, 0) == {}
    assert "-" in aggregate.format_table([("icnet", "224 px", "paper", nothing)])


def test_the_reference_scores_of_u2netp_are_met(shared):
    root, scored = shared / "data" / "msrc", []
    for file in sorted((root / "masks").glob("*/*.png")):
        key = (file.parent.name, file.stem)
        parts = [root / kind / key[0] / file.name for kind in ("sism_u2netp", "masks", "void")]
        scored.append((key, pysod.score_map_at(*(images.decode_gray(part.read_bytes()) for part in parts), (224, 224))))
    found = aggregate.Scores.of(scored).overall()
    assert len(scored) == 210
    assert [found[name] for name in ("max_f", "s", "mae")] == pytest.approx([0.858, 0.779, 0.134], abs=5e-4)
