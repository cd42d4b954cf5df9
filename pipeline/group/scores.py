"""How well found groups agree with true ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class GroupingScores:
    """All in [0, 1], but ARI in [-0.5, 1]. A photograph without a group counts as a group of its own."""

    ari: float
    """Adjusted Rand index (Hubert and Arabie, 1985)."""
    nmi: float
    """Normalized mutual information."""
    bcubed_precision: float
    """BCubed (Bagga and Baldwin, 1998): mean share of a photograph's found group that is of its true group."""
    bcubed_recall: float
    """Mean share of a photograph's true group that is in its found group."""
    purity: float
    """Share of the grouped photographs that are of the most frequent true group in their found group."""
    unsorted: float
    """Share of the photographs without a group."""

    @property
    def bcubed_f(self) -> float:
        """Harmonic mean of BCubed precision and recall."""
        total = self.bcubed_precision + self.bcubed_recall
        return 2 * self.bcubed_precision * self.bcubed_recall / total if total else 0.0

    def format_text(self) -> str:
        """One line."""
        return (
            f"BCubed F {self.bcubed_f:.3f} (precision {self.bcubed_precision:.3f}, recall {self.bcubed_recall:.3f}), "
            f"ARI {self.ari:.3f}, NMI {self.nmi:.3f}, purity {self.purity:.3f}, unsorted {self.unsorted:.1%}"
        )


def score_grouping(truth: Sequence[str], found: Sequence[str | None]) -> GroupingScores:
    """Compare the true and the found group of each photograph. Raises ValueError if there is no photograph."""
    if not truth:
        raise ValueError("there is no photograph to score")
    alone = np.array([one is None for one in found])
    filled = [f"alone {place}" if one is None else f"group {one}" for place, one in enumerate(found)]
    _, true = np.unique(np.array(truth), return_inverse=True)
    names, given = np.unique(np.array(filled), return_inverse=True)
    true_sizes, found_sizes = np.bincount(true), np.bincount(given)
    _, pairs, counts = np.unique(true.astype(np.int64) * len(names) + given, return_inverse=True, return_counts=True)
    shared = counts[pairs]
    most = np.zeros(len(names), np.int64)
    np.maximum.at(most, given[~alone], shared[~alone])
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score  # seconds: see clustering

    return GroupingScores(
        ari=float(adjusted_rand_score(true, given)),
        nmi=float(normalized_mutual_info_score(true, given)),
        bcubed_precision=float((shared / found_sizes[given]).mean()),
        bcubed_recall=float((shared / true_sizes[true]).mean()),
        purity=float(most.sum() / max(1, np.count_nonzero(~alone))),
        unsorted=float(alone.mean()),
    )
