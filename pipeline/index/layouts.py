"""Layouts: in which folders a collection keeps its images and masks."""

import os
import unicodedata
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
"""Published collection -> where its archive keeps images and masks. Upper and lower case are not distinguished."""

IMAGES = ("images", "image", "imgs", "img")
MASKS = ("masks", "mask", "groundtruth", "ground_truth", "gts", "gt", "binary")
"""Names that toolboxes give these folders after unpacking."""

PARTNERS = ("masks", "void")
"""Folders of the plain layout beside `images`."""


class CollectionError(ValueError):
    """A collection that cannot be indexed; the message is one sentence."""


class Folders(params.Section):
    """The folders of a collection, below its root, each with a folder for each group. `.` is the root itself."""

    images: str
    masks: str | None = None
    void: str | None = None

    def list_used(self) -> list[str]:
        """Return the folders that exist."""
        return [folder for folder in (self.images, self.masks, self.void) if folder is not None]


class Dataset(params.Section):
    """A collection of images: where it is, its layout, and the groups to leave out."""

    root: str = Field(description="folder of the collection, absolute or below the repository")
    layout: str | Folders = Field(
        "plain", description="`plain`, a published layout ([data.md](data.md)), or the folders of another layout"
    )
    exclude: list[str] = Field(default_factory=list, description="groups to leave out")
    groups: str | None = Field(
        None,
        description="CSV file of groups below the root, in place of its folders: columns `photo` and `group`, as stage"
        " `group` writes them",
    )

    @field_validator("layout")
    @classmethod
    def _check_layout(cls, layout: str | Folders) -> str | Folders:
        if isinstance(layout, str) and layout.lower() not in ("plain", *PUBLISHED):
            raise ValueError(f"expected plain, {', '.join(PUBLISHED)} or {{images, masks, void}}")
        return layout


def find_folders(root: Path, layout: str | Folders) -> Folders:
    """Return the folders of a collection.

    Raises CollectionError if the root or its images do not exist, or are outside the root.
    """
    if not root.is_dir():
        raise CollectionError(f"there is no folder {root}: set datasets.<name>.root in params.yaml to the collection")
    if isinstance(layout, Folders):
        folders = layout
        for name in folders.list_used():
            if not (root / name).is_dir():
                raise CollectionError(f"there is no folder {name} in {root}, which datasets.<name>.layout names")
    elif layout.lower() == "plain":
        folders = _find_plain(root)
    else:
        folders = _find_published(root, layout.lower())
    for name in folders.list_used():
        if not is_inside(root / name, os.path.realpath(root)):
            raise CollectionError(f"{root / name} is outside {root}: set datasets.<name>.root to the real folder")
    return folders


def is_inside(path: str | Path, root: str) -> bool:
    """Whether a path is below `root`, a real path, after all links are resolved."""
    real = os.path.realpath(path)
    return real == root or real.startswith(root.rstrip(os.sep) + os.sep)


def _find_plain(root: Path) -> Folders:
    """Return images/, masks/ and void/, or the root if there is no images/.

    Without images/ every folder of the root is a group, also one called masks or void, unless it holds nothing but
    folders and one of them has the name of a group: then these are the groups' masks.
    """
    if (root / "images").is_dir():
        return Folders(images="images", **{name: name for name in PARTNERS if (root / name).is_dir()})
    children = {unicodedata.normalize("NFC", child.name): child for child in root.iterdir() if _is_folder(child)}
    groups = children.keys() - set(PARTNERS)
    found = {name: name for name in PARTNERS if name in children and _holds_groups(children[name], groups)}
    return Folders(images=".", **found)


def _holds_groups(folder: Path, groups: set[str]) -> bool:
    try:
        children = [child for child in folder.iterdir() if not child.name.startswith(".")]
    except OSError:
        return False
    names = {unicodedata.normalize("NFC", child.name) for child in children}
    return all(_is_folder(child) for child in children) and bool(names & groups)


def _find_published(root: Path, name: str) -> Folders:
    images, masks = PUBLISHED[name]
    image_names = [*(f"{folder}/{name}" for folder in IMAGES), *images, *IMAGES]
    mask_names = [*(f"{folder}/{name}" for folder in MASKS), *masks, *MASKS]
    found = _find_first(root, image_names)
    if found is None:
        raise CollectionError(
            f"there is no {images[0]}/<group>/ in {root}, as {name} is published, nor {', '.join(IMAGES)}"
        )
    return Folders(images=found, masks=_find_first(root, mask_names), void=_find_first(root, ["void"]))


def _find_first(root: Path, names: Iterable[str]) -> str | None:
    """Return the first of these folders that exists, with the case that it has on the disk."""
    for name in names:
        place: Path | None = root
        for part in name.split("/"):
            children = sorted(place.iterdir()) if place and place.is_dir() else []
            place = next((child for child in children if child.name.lower() == part and _is_folder(child)), None)
        if place:
            return place.relative_to(root).as_posix()
    return None


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False
