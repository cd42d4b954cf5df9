"""The gate between champion and challenger."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.register.gate import Criterion, judge_challenger
from tests.helpers.models import FAIR, GOOD, POOR, board

GOLDEN = (
    "max_f at original size on small is 0.9040, that of version 1 0.6840: better by more than 0 in 100.0% of 200"
    " resamples of 8 groups (95.0% are wanted)"
)
"""The verdict of OUTPUT_VERSION 1."""


def test_equal_models_do_not_pass_the_gate():
    verdict = judge_challenger(board(FAIR), board(FAIR), Criterion(resamples=200), "version 1")
    assert not verdict.better and " 0.0% of 200 resamples of 8 groups" in verdict.reason


@pytest.mark.parametrize("metric", ["max_f", "s", "mae", "iou"])
def test_a_clearly_better_model_passes_and_a_worse_one_does_not(metric):
    criterion = Criterion(resamples=200, metric=metric)
    assert judge_challenger(board(GOOD), board(POOR), criterion, "version 1").better
    assert not judge_challenger(board(POOR), board(GOOD), criterion, "version 1").better


def test_noise_does_not_pass_the_gate():
    wins = [judge_challenger(board(FAIR, 50 * n), board(FAIR, 999), Criterion(resamples=200), "it") for n in range(12)]
    assert sum(verdict.better for verdict in wins) <= 2


def test_a_margin_must_be_passed_too():
    assert not judge_challenger(board(GOOD), board(POOR), Criterion(resamples=200, margin=0.9), "version 1").better


def test_other_images_or_no_scores_cannot_be_compared():
    criterion = Criterion(resamples=100)
    assert "other images" in judge_challenger(board(GOOD), board(POOR, edition="second"), criterion, "it").reason
    assert "was not scored on small" in judge_challenger(board(GOOD), {}, criterion, "it").reason
    assert "nothing to compare" in judge_challenger({}, board(POOR), criterion, "it").reason


def test_benchmarks_count_alike():
    ours, theirs = board(GOOD) | {"other": board(POOR)["small"]}, board(POOR) | {"other": board(GOOD)["small"]}
    verdict = judge_challenger(ours, theirs, Criterion(resamples=200), "version 1")
    assert not verdict.better and "small, other" in verdict.reason


def test_scores_that_are_not_finite_never_win_and_never_block():
    broken, criterion = board(GOOD), Criterion(resamples=100)
    scores, edition = broken["small"]
    numbers = scores.numbers.copy()
    numbers[0, 0] = np.nan
    broken = {"small": (replace(scores, numbers=numbers), edition)}
    mine = judge_challenger(broken, board(POOR), criterion, "version 1")
    assert not mine.better and "not finite" in mine.reason
    theirs = judge_challenger(board(POOR), broken, criterion, "version 1")
    assert theirs.better and "version 1 has scores that are not finite" in theirs.reason


def test_the_verdict_changes_only_with_the_output_version():
    """Raise OUTPUT_VERSION in pipeline/register/receipt.py with a change of this sentence."""
    verdict = judge_challenger(board(FAIR), board(POOR), Criterion(resamples=200), "version 1")
    assert verdict.better and verdict.reason == GOLDEN
