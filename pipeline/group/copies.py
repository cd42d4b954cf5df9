"""Near-duplicates: bursts, resized and recompressed files. One of each set takes part in the search for groups.

Photographs are copies of each other if their hashes differ in at most MAX_BITS of 64 bits and their embeddings are
similar. Hashes that are so near have one of MAX_BITS + 1 parts in common, so only those are compared.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

MAX_BITS = 4
"""Bits in which the hashes of copies may differ."""

HASH_BITS = 64

MAX_COMPARED = 1000
"""Hashes with a part in common that are all compared with each other; of more, each with the next ones alone."""


def find_copies(hashes: NDArray[np.int64], vectors: NDArray[np.float16], similarity: float) -> NDArray[np.int64]:
    """For each of n photographs the position of the first one that it is a copy of, its own if there is none.

    hashes: [n]. vectors: [n, d] of length 1. similarity: cosine above which photographs may be copies.
    """
    n = len(hashes)
    if n == 0:
        return np.zeros(0, np.int64)
    first, second = _list_near_pairs(hashes.astype(np.uint64))
    if len(first):
        alike = _compute_cosines(vectors, first, second) >= similarity
        first, second = first[alike], second[alike]
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(n, n))
    _, sets = connected_components(graph, directed=False)
    firsts = np.full(n, n, np.int64)
    np.minimum.at(firsts, sets, np.arange(n))
    return firsts[sets]


def _list_near_pairs(hashes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of positions whose hashes are near. Equal hashes are a chain, so that n copies give n - 1 pairs."""
    order = np.argsort(hashes, kind="stable")
    values, starts = np.unique(hashes[order], return_index=True)
    same = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
    firsts, seconds = [order[same]], [order[same + 1]]
    holders = order[starts]
    width = -(-HASH_BITS // (MAX_BITS + 1))
    for part in range(MAX_BITS + 1):
        bits = (values >> np.uint64(part * width)) & np.uint64((1 << width) - 1)
        one, other = _list_pairs_in_buckets(bits)
        near = np.bitwise_count(values[one] ^ values[other]) <= MAX_BITS
        firsts.append(holders[one[near]])
        seconds.append(holders[other[near]])
    return np.concatenate(firsts), np.concatenate(seconds)


def _list_pairs_in_buckets(bits: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All pairs of positions with equal `bits`; in buckets of more than MAX_COMPARED, those less far apart than it."""
    order = np.argsort(bits, kind="stable")
    ordered = bits[order]
    ends = np.searchsorted(ordered, ordered, side="right")
    firsts, seconds = [], []
    places = np.arange(len(order))
    for distance in range(1, MAX_COMPARED + 1):
        places = places[places + distance < ends[places]]
        if not len(places):
            break
        firsts.append(order[places])
        seconds.append(order[places + distance])
    empty = np.zeros(0, np.int64)
    return np.concatenate([empty, *firsts]), np.concatenate([empty, *seconds])


def _compute_cosines(
    vectors: NDArray[np.float16], first: NDArray[np.int64], second: NDArray[np.int64], step: int = 4096
) -> NDArray[np.float32]:
    parts = [slice(start, start + step) for start in range(0, len(first), step)]
    return np.concatenate(
        [
            np.einsum("nd,nd->n", vectors[first[part]].astype(np.float32), vectors[second[part]].astype(np.float32))
            for part in parts
        ]
    )
