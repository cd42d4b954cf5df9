"""Where a collection keeps its images and masks: a plain layout, the published ones, or one's own."""

import os
from collections.abc import Iterable
from pathlib import Path

from pydantic import Field, field_validator

from pipeline.runtime import params

PUBLISHED = {
    "coco9213": (("img",), ("gt",)),
    "cosal2015": (("image",), ("groundtruth", "gt")),
    "icoseg": (("dataset_public/images", "image"), ("dataset_public/ground_truth", "groundtruth")),
    "msrc": (("image",), ("groundtruth",)),
    "cosod3k": (("image",), ("groundtruth",)),
    "coca": (("image",), ("binary",)),
}
"""Where the published archives keep images and masks; upper and lower case are one."""

IMAGES = ("images", "image", "imgs", "img")
MASKS = ("masks", "mask", "groundtruth", "ground_truth", "gts", "gt", "binary")
"""Names that toolboxes give the same folders after unpacking."""


class CollectionError(ValueError):
    """A collection, or a file of it, that cannot be used; the message says why."""


class Folders(params.Section):
    """A layout of one's own: folders below the root, each with a folder per group."""

    images: str
    masks: str | None = None
    void: str | None = None


class Dataset(params.Section):
    """A collection in params.yaml: where it is, how it is laid out, which of its groups are left out."""

    root: str
    layout: str | Folders = "plain"
    exclude: list[str] = Field(default_factory=list)

    @field_validator("layout")
    @classmethod
    def _known(cls, layout: str | Folders) -> str | Folders:
        if isinstance(layout, str) and layout.lower() not in ("plain", *PUBLISHED):
            raise ValueError(f"expected plain, {', '.join(PUBLISHED)} or {{images, masks, void}}")
        return layout


def find_folders(root: Path, layout: str | Folders) -> Folders:
    """The folders of a collection, as paths below its root ("." is the root itself).

    Raises CollectionError where the root or its images are not there, or lead outside the root.
    """
    if not root.is_dir():
        raise CollectionError(f"there is no folder {root}: set datasets.<name>.root in params.yaml to the collection")
    if isinstance(layout, Folders):
        folders = layout
        for name in filter(None, (layout.images, layout.masks, layout.void)):
            if not (root / name).is_dir():
                raise CollectionError(f"there is no folder {name} in {root}, which datasets.<name>.layout names")
    elif layout.lower() == "plain":
        folders = _plain(root)
    else:
        folders = _published(root, layout.lower())
    for name in filter(None, (folders.images, folders.masks, folders.void)):
        if not inside(root / name, os.path.realpath(root)):
            raise CollectionError(f"{root / name} leads outside {root}: set datasets.<name>.root to the real place")
    return folders


def _plain(root: Path) -> Folders:
    there = {name: name if (root / name).is_dir() else None for name in ("images", "masks", "void")}
    if there["images"] is None and there["masks"] is not None:
        raise CollectionError(f"{root} holds masks/ but no images/")
    return Folders(images=there["images"] or ".", masks=there["masks"], void=there["void"])


def _published(root: Path, name: str) -> Folders:
    images, masks = PUBLISHED[name]
    among = [f"{folder}/{name}" for folder in IMAGES], [f"{folder}/{name}" for folder in MASKS]
    found = _first(root, [*among[0], *images, *IMAGES])
    if found is None:
        raise CollectionError(f"{root} holds no {images[0]}/<group>/ as {name} is published, nor {', '.join(IMAGES)}")
    return Folders(images=found, masks=_first(root, [*among[1], *masks, *MASKS]), void=_first(root, ["void"]))


def _first(root: Path, names: Iterable[str]) -> str | None:
    for name in names:
        place = root
        for part in name.split("/"):
            children = sorted(place.iterdir()) if place.is_dir() else []
            place = next((child for child in children if child.name.lower() == part and child.is_dir()), None)
            if place is None:
                break
        else:
            return place.relative_to(root).as_posix()
    return None


def inside(path: str | Path, root: str) -> bool:
    """Whether a path stays below `root`, a real path, wherever its links lead."""
    real = os.path.realpath(path)
    return real == root or real.startswith(root.rstrip(os.sep) + os.sep)
