"""Pasted objects: batches in which a single image does not tell what the group has in common.

Legend: s px a side; h x h cells of stored features. A member is what one image of a batch gives: image [s, s, 3], SISM
and mask [s, s], uint8, and perhaps features [h, h, c].
"""

from collections.abc import Callable

import numpy as np

from pipeline.train.config import TrainConfig

Member = list[np.ndarray]

AREAS = (0.02, 0.45)
"""Share of the image that an object to be pasted covers."""


def is_pasting(config: TrainConfig, epoch: int) -> bool:
    """Whether objects may be pasted in an epoch, counted from 0."""
    return epoch < config.epochs - config.unpasted_epochs


def paste_objects(
    draw: np.random.Generator,
    members: list[Member],
    load_other: Callable[[], Member],
    pasted_groups: float,
    distractors: float,
) -> list[Member]:
    """The members of a batch, some of them with pasted objects. `load_other` draws an image of another group.

    In a share `pasted_groups` of the batches, every object is cut out and pasted on an image of another group: the
    images share this object alone, and each of them also has a salient object of its own. In the other batches, a share
    `distractors` of the images gets an object of another group, which is not in the mask. Objects outside AREAS are not
    pasted.
    """
    if draw.random() < pasted_groups:
        return [paste(draw, load_other(), member)[0] if is_usable(member) else member for member in members]
    return [_distract(draw, member, load_other()) if draw.random() < distractors else member for member in members]


def is_usable(member: Member) -> bool:
    """Whether the member's object covers a share of the image in AREAS."""
    return AREAS[0] < (member[2] > 127).mean() < AREAS[1]


def _distract(draw: np.random.Generator, member: Member, other: Member) -> Member:
    if not is_usable(other):
        return member
    pasted, inside = paste(draw, member, other)
    return [*pasted[:2], np.where(inside, 0, member[2]), *pasted[3:]]


def paste(draw: np.random.Generator, scene: Member, other: Member) -> tuple[Member, np.ndarray]:
    """A scene with the object of another member at a drawn place, and where that is, bool [s, s].

    The SISM shows the object as its own SISM does. The mask has the pasted object alone. It moves by whole cells, so
    that its features move with it: a cell is pasted where the object covers more than half of it.
    """
    size, cells = len(scene[2]), len(scene[3]) if len(scene) > 3 else len(scene[2])
    unit, inside = size // cells, other[2] > 127
    shift = tuple(_draw_shift(draw, places // unit, cells) for places in np.nonzero(inside))
    moved = _move(inside, shift, unit)
    parts = [np.where(moved[..., None], _move(other[0], shift, unit), scene[0])]
    parts += [np.where(moved, _move(other[1], shift, unit), scene[1]), (255 * moved).astype(np.uint8)]
    if len(scene) > 3:
        covered = moved[: cells * unit, : cells * unit].reshape(cells, unit, cells, unit).mean(axis=(1, 3)) > 0.5
        parts.append(np.where(covered[..., None], _move(other[3], shift, 1), scene[3]))
    return parts, moved


def _draw_shift(draw: np.random.Generator, places: np.ndarray, cells: int) -> int:
    """Cells to move an object by that is in these rows or columns of cells, so that it stays inside."""
    return int(draw.integers(-places.min(), cells - places.max()))


def _move(view: np.ndarray, shift: tuple[int, ...], unit: int) -> np.ndarray:
    """The view moved down and to the right by units of pixels; what comes in is zero."""
    moved = np.zeros_like(view)
    targets, sources = zip(*(_overlap(step * unit, len(view)) for step in shift), strict=True)
    moved[targets] = view[sources]
    return moved


def _overlap(step: int, size: int) -> tuple[slice, slice]:
    """Where a row that is moved by `step` lands, and where it comes from."""
    return slice(max(0, step), size + min(0, step)), slice(max(0, -step), size + min(0, -step))
