"""Groups of photographs with similar salient objects: principal components, then HDBSCAN.

HDBSCAN (Campello, Moulavi and Sander, 2013) needs no number of groups, and leaves out what belongs to none. Its time
grows with the square of the photographs. So more than MAX_POINTS of them are first gathered around as many centers by
k-means; HDBSCAN then finds the groups of the centers.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.group.config import GroupConfig
from pipeline.group.copies import find_copies
from pipeline.group.embeddings import Embeddings

# Functions import what they need of scikit-learn: it takes two seconds, also of commands that find no groups.

COMPONENTS = 32
"""Principal components of the embeddings that are compared."""

MAX_FITTED = 20_000
"""Evenly spaced photographs that the principal components are fitted to."""

MAX_POINTS = 20_000
"""Photographs that HDBSCAN compares with each other."""

UNSORTED = -1


@dataclass(frozen=True)
class Grouping:
    """The group of each of n photographs."""

    labels: NDArray[np.int64]
    """Number of the group, [n]: 0 is the largest one, UNSORTED belongs to none."""
    confidence: NDArray[np.float64]
    """How surely the photograph belongs to its group, in [0, 1], [n]; 0 for unsorted ones."""
    copy_of: NDArray[np.int64]
    """Position of the photograph that this one is a copy of, its own position if it is none, [n]."""


def find_groups(embeddings: Embeddings, config: GroupConfig) -> Grouping:
    """Divide photographs into groups. The same photographs in another order have the same groups."""
    copy_of = find_copies(embeddings.hashes, embeddings.vectors, config.copies)
    kept = np.flatnonzero(copy_of == np.arange(len(embeddings)))
    labels = np.full(len(embeddings), UNSORTED, np.int64)
    confidence = np.zeros(len(embeddings))
    if len(kept) >= config.min_group_size:
        vectors = embeddings.vectors[kept]
        labels[kept], confidence[kept] = cluster(project(vectors, config.seed), config)
        loose = np.isin(labels[kept], np.flatnonzero(measure_cohesion(vectors, labels[kept]) < config.cohesion))
        labels[kept[loose]], confidence[kept[loose]] = UNSORTED, 0.0
    labels, confidence = labels[copy_of], confidence[copy_of]
    labels, confidence = _group_large_sets(labels, confidence, copy_of, config.min_group_size)
    return Grouping(_number_by_size(labels), confidence, copy_of)


def project(vectors: NDArray[np.float16], seed: int, step: int = 65_536) -> NDArray[np.float32]:
    """The first principal components of embeddings [n, d], of length 1: [n, k]."""
    places = np.linspace(0, len(vectors) - 1, min(len(vectors), MAX_FITTED)).round().astype(int)
    components = min(COMPONENTS, len(places) - 1, vectors.shape[1])
    from sklearn.decomposition import PCA

    pca = PCA(components, svd_solver="covariance_eigh", random_state=seed).fit(vectors[places].astype(np.float32))
    parts = [pca.transform(vectors[at : at + step].astype(np.float32)) for at in range(0, len(vectors), step)]
    projected = np.concatenate(parts).astype(np.float32)
    return projected / np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-9)


def cluster(points: NDArray[np.float32], config: GroupConfig) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Label and confidence of each of n points of length 1, [n, k]."""
    if len(points) <= MAX_POINTS:
        return _run_hdbscan(points, config.min_group_size, config.neighbors)
    centers, nearest = _gather(points, config.seed)
    smallest = max(2, round(config.min_group_size * len(centers) / len(points)))
    labels, confidence = _run_hdbscan(centers, smallest, min(config.neighbors, smallest))
    return labels[nearest], confidence[nearest]


def measure_cohesion(vectors: NDArray[np.float16], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """The mean cosine similarity of two different photographs of each group; vectors [n, d] of length 1."""
    order = np.argsort(labels, kind="stable")
    order = order[np.searchsorted(labels[order], 0) :]
    counts = np.bincount(labels[order])
    ends = np.cumsum(counts)
    members = [order[end - count : end] for end, count in zip(ends, counts, strict=True)]
    squares = np.array([np.square(vectors[one].astype(np.float64).sum(axis=0)).sum() for one in members])
    return (squares - counts) / np.maximum(counts * (counts - 1), 1)


def _run_hdbscan(points: np.ndarray, smallest: int, neighbors: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    if len(points) <= neighbors:
        return np.full(len(points), UNSORTED, np.int64), np.zeros(len(points))
    from sklearn.cluster import HDBSCAN

    found = HDBSCAN(min_cluster_size=smallest, min_samples=neighbors, copy=True).fit(points.astype(np.float64))
    return found.labels_.astype(np.int64), np.nan_to_num(found.probabilities_)


def _gather(points: NDArray[np.float32], seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """MAX_POINTS / 2 centers of the points, and the nearest center of each point."""
    from sklearn.cluster import MiniBatchKMeans

    kmeans = MiniBatchKMeans(MAX_POINTS // 2, init="random", n_init=1, batch_size=4 * MAX_POINTS, random_state=seed)
    nearest = kmeans.fit_predict(points).astype(np.int64)
    return kmeans.cluster_centers_.astype(np.float32), nearest


def _group_large_sets(
    labels: NDArray[np.int64], confidence: NDArray[np.float64], copy_of: NDArray[np.int64], smallest: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """A set of copies that is large enough, and whose photograph is unsorted, is a group of its own."""
    counts = np.bincount(copy_of, minlength=len(copy_of))
    alone = np.flatnonzero((counts >= smallest) & (labels == UNSORTED))
    labels, confidence = labels.copy(), confidence.copy()
    for number, place in enumerate(alone, start=int(labels.max(initial=UNSORTED)) + 1):
        members = copy_of == place
        labels[members], confidence[members] = number, 1.0
    return labels, confidence


def _number_by_size(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same groups, numbered from the largest to the smallest; of equal ones, the one of the first photograph."""
    found, firsts, counts = np.unique(labels[labels != UNSORTED], return_index=True, return_counts=True)
    order = np.lexsort((firsts, -counts))
    numbers = np.full(int(labels.max(initial=UNSORTED)) + 2, UNSORTED, np.int64)
    numbers[found[order]] = np.arange(len(found))
    return numbers[labels]
