"""Which groups train and which validate."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

Groups = Mapping[str, Sequence[int]]
"""Rows of the samples table by group."""


class SplitError(ValueError):
    """A training set that cannot be split as asked; the message says what is there."""


@dataclass(frozen=True)
class Split:
    """Groups to train on and groups to validate on; `copies`, `unmasked`: rows that neither side may use.

    `copies` are photographs of training groups that stand, byte for byte, in a validation group too.
    """

    train: dict[str, list[int]]
    validation: dict[str, list[int]]
    copies: list[int]
    unmasked: list[int]


def split_groups(samples: pa.Table, validation: float | Sequence[str], seed: int) -> Split:
    """Hold groups out for validation: a share of them, drawn by the seed, or those that are named.

    A photograph of which a byte-identical copy stands in a validation group is taken away from training. Raises
    SplitError where nothing is left to train on, or a named group is not there.
    """
    masked = samples["mask"].is_valid().to_pylist()
    groups: dict[str, list[int]] = {}
    for row, group in enumerate(samples["group"].to_pylist()):
        if masked[row]:
            groups.setdefault(group, []).append(row)
    unmasked = [row for row, there in enumerate(masked) if not there]
    held = _choose_validation(sorted(groups), validation, seed)
    digests = samples["digest"].to_pylist()
    seen = {digests[row] for group in held for row in groups[group]} - {None}
    copies = [row for group in groups.keys() - held for row in groups[group] if digests[row] in seen]
    away = set(copies)
    kept = {group: [row for row in rows if row not in away] for group, rows in groups.items() if group not in held}
    train = {group: rows for group, rows in kept.items() if rows}
    if not any(len(rows) > 1 for rows in train.values()):
        raise SplitError(
            f"nothing to train on: {len(samples)} images, {len(unmasked)} without a mask, {len(held)} of"
            f" {len(groups)} groups held out for validation; a training group needs two images with masks"
        )
    return Split(train, {group: groups[group] for group in sorted(held)}, sorted(copies), unmasked)


def _choose_validation(groups: list[str], validation: float | Sequence[str], seed: int) -> set[str]:
    if not isinstance(validation, int | float):
        strangers = sorted(set(validation) - set(groups))
        if strangers:
            raise SplitError(f"no masked images in the validation groups {', '.join(strangers)}; there: {groups}")
        return set(validation)
    count = min(round(validation * len(groups)) or math.ceil(validation), len(groups) - 1)
    drawn = np.random.default_rng(seed).permutation(len(groups))
    return {groups[place] for place in drawn[: max(count, 0)]}
