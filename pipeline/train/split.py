"""Which groups train and which validate."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

Groups = Mapping[str, Sequence[int]]
"""Rows of the samples table by group."""


class SplitError(ValueError):
    """A training set that cannot be split as asked; the message names what is there."""


@dataclass(frozen=True)
class Split:
    """Groups to train on and groups to validate on, and the rows that neither side may use.

    `copies`: photographs of training groups with a byte-identical copy in a validation group; `unmasked`: images
    without a mask.
    """

    train: dict[str, list[int]]
    validation: dict[str, list[int]]
    copies: list[int]
    unmasked: list[int]


def split_groups(samples: pa.Table, validation: float | Sequence[str], seed: int) -> Split:
    """Hold groups out for validation: a share of them, chosen by the seed, or those that are named.

    Raises SplitError where nothing is left to train on, or a named group does not exist.
    """
    groups, unmasked = _find_groups(samples)
    held = _choose_validation(sorted(groups), validation, seed)
    copies = _find_copies(samples["digest"].to_pylist(), groups, held)
    left_out = set(copies)
    kept = {group: [row for row in rows if row not in left_out] for group, rows in groups.items() if group not in held}
    train = {group: rows for group, rows in kept.items() if rows}
    if not any(len(rows) > 1 for rows in train.values()):
        raise SplitError(
            f"nothing to train on: {len(samples)} images, {len(unmasked)} without a mask, {len(held)} of"
            f" {len(groups)} groups held out for validation; a training group needs two images with masks"
        )
    return Split(train, {group: groups[group] for group in sorted(held)}, copies, unmasked)


def _find_groups(samples: pa.Table) -> tuple[dict[str, list[int]], list[int]]:
    """Rows with a mask by group, and rows without one."""
    masked = samples["mask"].is_valid().to_pylist()
    groups: dict[str, list[int]] = {}
    for row, group in enumerate(samples["group"].to_pylist()):
        if masked[row]:
            groups.setdefault(group, []).append(row)
    return groups, [row for row, has_mask in enumerate(masked) if not has_mask]


def _find_copies(digests: Sequence[str | None], groups: dict[str, list[int]], held: set[str]) -> list[int]:
    """Rows of training groups whose photograph is also in a validation group."""
    seen = {digests[row] for group in held for row in groups[group]} - {None}
    return sorted(row for group in groups.keys() - held for row in groups[group] if digests[row] in seen)


def _choose_validation(groups: list[str], validation: float | Sequence[str], seed: int) -> set[str]:
    if not isinstance(validation, int | float):
        if unknown := sorted(set(validation) - set(groups)):
            raise SplitError(f"no masked images in the validation groups {', '.join(unknown)}; there: {groups}")
        return set(validation)
    count = min(round(validation * len(groups)) or math.ceil(validation), len(groups) - 1)
    order = np.random.default_rng(seed).permutation(len(groups))
    return {groups[place] for place in order[: max(count, 0)]}
