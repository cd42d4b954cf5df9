"""Walk a collection: its groups, the images of each with their masks, and everything that is left out.

Only names are read here, no file is opened. docs/data.md lists what happens to each kind of name.
"""

import operator
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from pipeline.index.layouts import CollectionError, Folders
from pipeline.index.listing import Listing, count_files, join, list_folder, scan
from pipeline.index.rejects import Reject, decode_name, make_reject

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm", ".jp2"}
IMAGE_SUFFIXES |= {".avif", ".heic", ".heif"}


@dataclass(frozen=True, slots=True)
class Entry:
    """An image and its masks, as paths below the root. `unmasked`: the collection has masks, but this image none."""

    group: str
    name: str
    image: str
    mask: str | None
    void: str | None
    unmasked: bool = False


@dataclass
class Group:
    """A group: its images, what is rejected because of its name alone, and how many hidden entries are ignored."""

    name: str
    folder: str
    entries: list[Entry] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    hidden: int = 0
    excluded: int = 0
    """Files of a group that `datasets.<name>.exclude` names."""


def walk_groups(root: Path, folders: Folders, exclude: Sequence[str] = ()) -> Iterator[Group]:
    """Yield the groups of a collection in the order of their names, one at a time in memory.

    A folder of images without groups is one group with the name of the root. The last group has the name "" and holds
    the rejects that belong to no group. Raises CollectionError if a folder cannot be read, or for an unknown group in
    `exclude`.
    """
    images = _list_base(root, folders, folders.images)
    masks = {kind: _list_base(root, folders, base) for kind, base in _list_mask_bases(folders)}
    for base in masks.values():
        base.prefer_spelling(images)
    flat = not images.groups
    names = [decode_name(root.resolve().name) or "images"] if flat else sorted(images.groups)
    if unknown := sorted(set(exclude) - set(names)):
        raise CollectionError(f"there is no group {', '.join(unknown)} in {root}, which datasets.<name>.exclude names")
    for name in names:
        if name in exclude:
            places = [base.find_group(name, flat) for base in (images, *masks.values())]
            yield Group(name, "", excluded=sum(count_files(root / place) for place in places if place))
        else:
            yield _walk_group(root, name, images, masks, flat)
    if not flat:
        yield _collect_rest(images, masks)


def list_group(root: Path, folder: str, name: str) -> Group:
    """Return the images of one folder, a path below `root`, as a group without masks."""
    return _walk_group(root, name, Base(folder, list_folder(root, folder, name), {}), {}, flat=True)


@dataclass
class Base:
    """One of the layout's folders: what is in it, and its subfolders by the name of their group."""

    path: str
    listing: Listing
    groups: dict[str, list[str]]

    def prefer_spelling(self, images: "Base") -> None:
        """Of several folders of a group, use the one that is spelled as the folder of its images."""
        for group, names in self.groups.items():
            used = images.groups.get(group, names)[0]
            names.sort(key=partial(operator.ne, used))

    def find_group(self, group: str, flat: bool) -> str | None:
        """Return a group's folder below the root, None if there is none; `flat`: the images are not in groups."""
        if flat:
            return self.path
        return join(self.path, self.groups[group][0]) if group in self.groups else None

    def list_group(self, root: Path, group: str, flat: bool) -> tuple[str, Listing] | None:
        """Return a group's folder below the root and its listing, None if there is none."""
        place = self.find_group(group, flat)
        if place is None:
            return None
        return place, self.listing if flat else list_folder(root, place, group)


def _list_mask_bases(folders: Folders) -> list[tuple[str, str]]:
    return [(kind, base) for kind, base in (("mask", folders.masks), ("void", folders.void)) if base is not None]


def _list_base(root: Path, folders: Folders, path: str) -> Base:
    """List one of the layout's folders, without other folders of the layout that are inside it."""
    listing = list_folder(root, path)
    used = [PurePosixPath(one) for one in folders.list_used() if one != path]
    listing.folders = [
        name for name in listing.folders if not any(one.is_relative_to(join(path, name)) for one in used)
    ]
    groups: dict[str, list[str]] = {}
    for name in listing.folders:
        groups.setdefault(unicodedata.normalize("NFC", name), []).append(name)
    return Base(path, listing, groups)


def _walk_group(root: Path, name: str, images: Base, masks: dict[str, Base], flat: bool) -> Group:
    group = Group(name, images.find_group(name, flat) or images.path)
    files = _pick_files(root, group, images.list_group(root, name, flat))
    found = {kind: _match(root, group, kind, files, base.list_group(root, name, flat)) for kind, base in masks.items()}
    for stem in sorted(files):
        mask, void = (found.get(kind, {}).get(stem) for kind in ("mask", "void"))
        unmasked = "mask" in found and mask is None
        group.entries.append(Entry(name, stem, files[stem], mask, void, unmasked))
    if not files and not group.rejects:
        group.rejects.append(make_reject(group.folder, name, "is a group without any file"))
    return group


def _match(
    root: Path, group: Group, kind: str, images: dict[str, str], listed: tuple[str, Listing] | None
) -> dict[str, str]:
    """Return the masks of a group's images by the images' names; `x_GT.png` is a mask of `x`."""
    found: dict[str, str] = {}
    for stem, path in _pick_files(root, group, listed).items():
        name = stem[:-3] if stem.lower().endswith("_gt") and stem not in images else stem
        if name in images and name not in found:
            found[name] = path
        else:
            group.rejects.append(make_reject(path, group.name, f"is a {kind} without an image"))
    return found


def _pick_files(root: Path, group: Group, listed: tuple[str, Listing] | None) -> dict[str, str]:
    """Return the paths of a folder's files by image name. Of several files with one name the first image counts."""
    if listed is None:
        return {}
    folder, listing = listed
    group.rejects += listing.rejects
    group.hidden += listing.hidden
    for name in listing.folders:
        count = count_files(root / folder / name)
        reason = f"is a folder inside a group, with {count} files: only files directly in a group are read"
        group.rejects.append(make_reject(join(folder, name), group.name, reason))
    found: dict[str, str] = {}
    for name in sorted(listing.files, key=lambda name: (_suffix(name) not in IMAGE_SUFFIXES, name)):
        stem, path = unicodedata.normalize("NFC", PurePosixPath(name).stem), join(folder, name)
        first = found.setdefault(stem, path)
        if first != path:
            reason = f"has the name of another file: {PurePosixPath(first).name!r} is used, {name!r} is not"
            group.rejects.append(make_reject(path, group.name, reason))
    return found


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _collect_rest(images: Base, masks: dict[str, Base]) -> Group:
    """Return the entries in the layout's folders that belong to no group, as rejects."""
    rest = Group("", images.path)
    for kind, base in {"image": images, **masks}.items():
        rest.hidden += base.listing.hidden
        rest.rejects += base.listing.rejects
        rest.rejects += [
            make_reject(join(base.path, file), None, "is outside every group") for file in base.listing.files
        ]
        for name, (first, *others) in base.groups.items():
            reason = f"has the name of another folder: {first!r} is used"
            rest.rejects += [make_reject(join(base.path, other), name, reason) for other in others]
            if name not in images.groups:
                reason = f"holds {kind}s of a group that has no images"
                rest.rejects.append(make_reject(join(base.path, first), name, reason))
    return rest


def find_unused(root: Path, folders: Folders) -> tuple[dict[str, int], int]:
    """Return what the layout does not use, as (paths below the root with their number of files, hidden entries)."""
    unused: dict[str, int] = {}
    hidden = 0
    used = [PurePosixPath(path) for path in folders.list_used()]
    for place in sorted({parent for path in used for parent in path.parents} - set(used)):
        listing = list_folder(root, str(place))
        hidden += listing.hidden
        names = [*listing.folders, *listing.files, *(PurePosixPath(row["path"]).name for row in listing.rejects)]
        for name in names:
            path = PurePosixPath(join(str(place), name))
            if not any(one.is_relative_to(path) for one in used):
                unused[str(path)] = count_files(root / path)
    return unused, hidden


def count_images(root: Path, folders: Folders) -> int:
    """Return roughly how many images there are, for a progress bar."""
    children = scan(root / folders.images)
    groups = [child.path for child in children if child.is_dir(follow_symlinks=False)]
    return sum(map(_count_children, groups)) or len(children)


def _count_children(folder: str) -> int:
    try:
        return len(scan(folder))
    except CollectionError:  # the walk reports it where it matters
        return 0
