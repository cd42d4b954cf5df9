"""Decide whether a challenger is better than the champion: a paired test over groups, so that noise changes nothing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from pipeline.metrics import aggregate, score
from pipeline.metrics.aggregate import Scores
from pipeline.metrics.records import ICNET
from pipeline.metrics.sums import read_sums
from pipeline.runtime import params

Board = dict[str, tuple[Scores, str]]
"""ICNet's scores on each benchmark, and the edition of the benchmark that was scored."""


class Criterion(params.Section):
    """The test that a challenger must pass."""

    metric: Literal[score.METRICS] = Field("max_f", description="metric to compare, as mean over the benchmarks")
    size: Literal["original", "resized"] = Field(
        "original", description="size to compare at: that of the original masks, or that of the samples"
    )
    margin: float = Field(0.0, ge=0, le=1, description="the challenger must be better by more than this")
    confidence: float = Field(
        0.95, gt=0.5, le=1, description="share of the resamples in which the challenger must be better"
    )
    resamples: int = Field(2000, ge=100, le=100_000, description="resamples of the groups")
    seed: int = Field(0, ge=0, description="seed of the resamples")


@dataclass(frozen=True)
class Verdict:
    """Whether the challenger is better, and a sentence that says why."""

    better: bool
    reason: str


def load_board(files: dict[str, Path], size: str) -> Board:
    """The scores of a model from its files of sums. Benchmarks on which nothing was scored are left out."""
    found = {}
    for benchmark, file in files.items():
        sums, edition = read_sums(file)
        if (ICNET, size) in sums:
            found[benchmark] = sums[ICNET, size], edition
    return found


def judge_challenger(ours: Board, theirs: Board, test: Criterion, champion: str) -> Verdict:
    """Compare the challenger's board with the board of the champion. `champion`: how the reason names it."""
    if reason := _find_obstacle(ours, theirs, champion):
        return Verdict(False, reason)
    if not all(scores.is_finite() for scores, _ in theirs.values()):
        return Verdict(True, f"{champion} has scores that are not finite")
    mine, other, passed = _compare_pairs(ours, theirs, test)
    groups = sum(len(scores.groups) for scores, _ in ours.values())
    return Verdict(
        passed >= test.confidence,
        f"{test.metric} at {test.size} size on {', '.join(ours)} is {mine:.4f}, that of {champion} {other:.4f}: better"
        f" by more than {test.margin:g} in {passed:.1%} of {test.resamples} resamples of {groups} groups"
        f" ({test.confidence:.1%} are wanted)",
    )


def _find_obstacle(ours: Board, theirs: Board, champion: str) -> str | None:
    """Why the two boards cannot be compared, or None."""
    if not ours:
        return "no benchmark with masks was scored, so there is nothing to compare"
    for benchmark, (scores, edition) in ours.items():
        if not scores.is_finite():
            return f"the scores on {benchmark} are not finite"
        if benchmark not in theirs:
            return f"{champion} was not scored on {benchmark}, so the two cannot be compared"
        other, their_edition = theirs[benchmark]
        same = np.array_equal(scores.counts, other.counts) and scores.groups == other.groups
        if edition != their_edition or not same:
            return f"{champion} was scored on other images of {benchmark}: the two cannot be compared"
    return None


def _compare_pairs(ours: Board, theirs: Board, test: Criterion) -> tuple[float, float, float]:
    """The metric of both, as means over benchmarks, and the share of resamples that exceed the margin."""
    sign = -1 if test.metric == "mae" else 1
    means, resampled = [], []
    for number, (benchmark, (found, _)) in enumerate(ours.items()):
        pair = found, theirs[benchmark][0]
        means.append([one.overall()[test.metric] for one in pair])
        draws = aggregate.draw_resamples(len(found.groups), test.resamples, test.seed + number)
        resampled.append(sign * np.subtract(*(one.resampled(draws)[test.metric] for one in pair)))
    mine, other = np.mean(means, axis=0)
    return float(mine), float(other), float(np.mean(np.mean(resampled, axis=0) > test.margin))
