"""Whether a challenger is better than the champion: a paired test over groups, so that noise moves nothing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from pipeline.metrics import aggregate, records, score
from pipeline.metrics.aggregate import Scores
from pipeline.metrics.records import ICNET
from pipeline.runtime import params

Board = dict[str, tuple[Scores, str]]
"""ICNet's scores by benchmark, and the edition of the benchmark that they were made on."""


class Criterion(params.Section):
    """The test a challenger must pass: `metric` at `size` better by more than `margin`, on the mean over benchmarks,
    in at least the share `confidence` of `resamples` of groups."""

    metric: Literal[score.METRICS] = "max_f"
    size: Literal["original", "resized"] = "original"
    margin: float = Field(0.0, ge=0)
    confidence: float = Field(0.95, gt=0.5, le=1)
    resamples: int = Field(2000, ge=100)
    seed: int = 0


@dataclass(frozen=True)
class Verdict:
    """Whether the challenger is better, and a sentence that says why."""

    better: bool
    reason: str


def load_board(files: dict[str, Path], size: str) -> Board:
    """The scores in files of sums, by benchmark; benchmarks on which nothing was scored are left out."""
    found = {}
    for benchmark, file in files.items():
        sums, edition = records.read_sums(file)
        if (ICNET, size) in sums:
            found[benchmark] = sums[ICNET, size], edition
    return found


def judge_challenger(ours: Board, theirs: Board, test: Criterion, champion: str) -> Verdict:
    """The challenger's board against that of the champion, which `champion` names."""
    if not ours:
        return Verdict(False, "no benchmark with masks was scored, so there is nothing to compare")
    for benchmark, (found, edition) in ours.items():
        if benchmark not in theirs:
            return Verdict(False, f"{champion} was not scored on {benchmark}, so the two cannot be compared")
        other, their_edition = theirs[benchmark]
        same = np.array_equal(found.counts, other.counts) and found.groups == other.groups
        if edition != their_edition or not same:
            return Verdict(False, f"{champion} was scored on other images of {benchmark}: the two cannot be compared")
    mine, other, passed = _compare_pairs(ours, theirs, test)
    return Verdict(
        passed >= test.confidence,
        f"{test.metric} at {test.size} size on {', '.join(ours)} is {mine:.4f}, that of {champion} {other:.4f}: better"
        f" by more than {test.margin:g} in {passed:.1%} of {test.resamples} resamples of"
        f" {sum(len(found.groups) for found, _ in ours.values())} groups ({test.confidence:.1%} are wanted)",
    )


def _compare_pairs(ours: Board, theirs: Board, test: Criterion) -> tuple[float, float, float]:
    """The metric of both, as means over benchmarks, and the share of resamples in which the margin is passed."""
    sign = -1 if test.metric == "mae" else 1
    means, resampled = [], []
    for number, (benchmark, (found, _)) in enumerate(ours.items()):
        pair = found, theirs[benchmark][0]
        means.append([one.overall()[test.metric] for one in pair])
        drawn = aggregate.draw_resamples(len(found.groups), test.resamples, test.seed + number)
        resampled.append(sign * np.subtract(*(one.resampled(drawn)[test.metric] for one in pair)))
    mine, other = np.mean(means, axis=0)
    return float(mine), float(other), float(np.mean(np.mean(resampled, axis=0) > test.margin))
