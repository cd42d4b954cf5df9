"""A collection on disk: groups of images and their masks, in the folder layouts that people have.

Only names are looked at here, no file is opened. What happens to every kind of name stands in docs/data.md.
"""

import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pipeline.index.layouts import CollectionError, Folders, inside

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm", ".jp2", ".avif"}
LITTER = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx"}


@dataclass(frozen=True, slots=True)
class Entry:
    """An image and what belongs to it: paths below the root. `unmasked`: others here have a mask, this one has none."""

    group: str
    name: str
    image: str
    mask: str | None
    void: str | None
    unmasked: bool = False


@dataclass
class Group:
    """A group as its folders show it: the images to look at, and what was refused by name alone."""

    name: str
    folder: str
    entries: list[Entry] = field(default_factory=list)
    rejects: list[dict] = field(default_factory=list)


def make_reject(path: str, group: str | None, reason: str, error: str = "CollectionError") -> dict:
    """A row of the rejects table of stage index; bytes that are no text are written as `\\xff`."""
    return {
        "path": decode_name(path),
        "group": group and decode_name(group),
        "stage": "index",
        "reason": reason,
        "error": error,
    }


def decode_name(name: str) -> str:
    """A file name that can be stored and printed: bytes that are not UTF-8 become `\\xff`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def walk_groups(root: Path, folders: Folders, exclude: Sequence[str] = ()) -> Iterator[Group]:
    """The groups of a collection in the order of their names, one in memory at a time.

    A folder of images without groups is one group, named after the root. The last group, named "", holds rejects of
    files that belong to none.
    """
    real, stray = os.path.realpath(root), Group("", folders.images)
    children, odd = _list(root, folders.images, real)
    groups = _by_name(child for child in children if child.is_dir())
    flat = not groups and bool(children)
    if flat:
        groups = {decode_name(root.resolve().name) or "images": [None]}
    else:
        stray.rejects += _outside(folders.images, children)
    stray.rejects += [make_reject(path, None, reason) for path, reason in odd]
    if unknown := sorted(set(exclude) - set(groups)):
        raise CollectionError(f"there is no group {', '.join(unknown)} in {root}, which datasets.<name>.exclude names")
    for name in sorted(groups):
        first, *others = groups[name]
        stray.rejects += [
            make_reject(_join(folders.images, other.name), name, f"has the name of another group: {first.name!r}")
            for other in others
        ]
        if name not in exclude:
            yield _group(root, folders, name, first.name if first else ".", real)
    stray.rejects += _masks_alone(root, folders, set(groups), real, flat)
    yield stray


def list_group(root: Path, folder: str, name: str) -> Group:
    """The images of one folder, a path below `root`, as a group without masks."""
    return _group(root, Folders(images="."), name, folder, os.path.realpath(root))


def count_files(root: Path, folders: Folders, exclude: Sequence[str] = ()) -> int:
    """About how many images there are: names only, for a progress bar."""
    place = root / folders.images
    children = [child for child in _scan(place) if child.is_dir() and not _ignored(child.name)]
    if not children:
        return sum(1 for _ in _scan(place))
    return sum(sum(1 for _ in _scan(child.path)) for child in children if child.name not in exclude)


def _group(root: Path, folders: Folders, name: str, child: str, real: str) -> Group:
    group = Group(name, _join(folders.images, child))
    files, odd = _list(root, group.folder, real)
    group.rejects += [make_reject(path, name, reason) for path, reason in odd]
    images = _singled(group, group.folder, files)
    partners = {kind: _partners(root, group, kind, base, child, real, images) for kind, base in _bases(folders)}
    masks, void = partners.get("mask"), partners.get("void", {})
    for stem in sorted(images):
        mask = (masks or {}).get(stem)
        unmasked = masks is not None and mask is None
        group.entries.append(Entry(name, stem, _join(group.folder, images[stem]), mask, void.get(stem), unmasked))
    if not files and not odd:
        group.rejects.append(make_reject(group.folder, name, "is a group without any file"))
    return group


def _bases(folders: Folders) -> list[tuple[str, str]]:
    return [(kind, base) for kind, base in (("mask", folders.masks), ("void", folders.void)) if base is not None]


def _partners(
    root: Path, group: Group, kind: str, base: str, child: str, real: str, images: dict[str, str]
) -> dict[str, str]:
    """The masks of a group's images by the images' names; `x_GT.png` is a mask of `x`."""
    folder = _mask_folder(root, base, child, group.name, real)
    if folder is None:
        return {}
    files, odd = _list(root, folder, real)
    group.rejects += [make_reject(path, group.name, reason) for path, reason in odd]
    found = {}
    for stem, file in _singled(group, folder, files).items():
        bare = stem[:-3] if stem.lower().endswith("_gt") and stem not in images else stem
        if bare in images and bare not in found:
            found[bare] = _join(folder, file)
        else:
            group.rejects.append(make_reject(_join(folder, file), group.name, f"is a {kind} without an image"))
    return found


def _mask_folder(root: Path, base: str, child: str, group: str, real: str) -> str | None:
    for name in (child, group, unicodedata.normalize("NFD", group)):
        if (root / base / name).is_dir() and inside(root / base / name, real):
            return _join(base, name)
    return None


def _outside(folder: str, children: Iterable[os.DirEntry]) -> list[dict]:
    files = (child.name for child in children if not child.is_dir())
    return [make_reject(_join(folder, file), None, "lies outside every group") for file in files]


def _masks_alone(root: Path, folders: Folders, groups: set[str], real: str, flat: bool) -> list[dict]:
    rejects = []
    for kind, base in _bases(folders):
        children, odd = _list(root, base, real)
        if flat:
            continue
        rejects += _outside(base, children) + [make_reject(path, None, reason) for path, reason in odd]
        for child in children:
            name = unicodedata.normalize("NFC", child.name)
            if child.is_dir() and name not in groups:
                rejects.append(
                    make_reject(_join(base, child.name), name, f"holds {kind}s of a group that has no images")
                )
    return rejects


def _list(root: Path, folder: str, real: str) -> tuple[list[os.DirEntry], list[tuple[str, str]]]:
    """What may be used of a folder, and (path, reason) of what may not; litter of file managers is left out."""
    usable, odd = [], []
    try:
        children = sorted(_scan(root / folder), key=lambda child: child.name)
    except OSError as error:
        return [], [(folder, f"cannot be read: {error.strerror}")]
    for child in children:
        if _ignored(child.name):
            continue
        reason = _objection(child, real)
        if reason is None:
            usable.append(child)
        else:
            odd.append((_join(folder, child.name), reason))
    return usable, odd


def _scan(folder: str | Path) -> list[os.DirEntry]:
    with os.scandir(folder) as children:
        return list(children)


def _objection(child: os.DirEntry, real: str) -> str | None:
    try:
        child.name.encode()
    except UnicodeEncodeError:
        return "has a name that is not UTF-8: rename it"
    if not child.name.isprintable() and any(unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in child.name):
        return "has a line break or another control character in its name: rename it"
    if child.is_symlink():
        try:
            Path(child.path).stat()
        except OSError as error:
            return f"is a link to nothing: {error.strerror}"
        if not inside(child.path, real):
            return "is a link that leads outside the collection: copy the file, or link to it within"
    if not child.is_dir() and not child.is_file():
        return "is not a file but a pipe, a socket or a device"
    return None


def _singled(group: Group, folder: str, files: Iterable[os.DirEntry]) -> dict[str, str]:
    """File names by image name; of several files with one name the first picture counts, the others are refused."""
    found = {}
    for name, same in _by_name(files, stem=True).items():
        plain = [file for file in same if not file.is_dir()]
        plain.sort(key=lambda file: (PurePosixPath(file.name).suffix.lower() not in PICTURES, file.name))
        for file in (file for file in same if file.is_dir()):
            inner = "is a folder within a group: only files directly in a group are read"
            group.rejects.append(make_reject(_join(folder, file.name), group.name, inner))
        if plain:
            found[name] = plain[0].name
        for file in plain[1:]:
            taken = f"has the name of another file: {plain[0].name!r} is taken, {file.name!r} is not"
            group.rejects.append(make_reject(_join(folder, file.name), group.name, taken))
    return found


def _by_name(children: Iterable[os.DirEntry], stem: bool = False) -> dict[str, list[os.DirEntry]]:
    found: dict[str, list[os.DirEntry]] = {}
    for child in children:
        name = PurePosixPath(child.name).stem if stem and not child.is_dir() else child.name
        found.setdefault(unicodedata.normalize("NFC", name), []).append(child)
    return found


def _ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in LITTER


def _join(folder: str, name: str) -> str:
    return name if folder == "." else folder if name == "." else f"{folder}/{name}"
