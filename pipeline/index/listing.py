"""Listings of folders: what can be used, what is rejected by its name or type, and what is ignored."""

import os
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.index.layouts import CollectionError, is_inside
from pipeline.index.rejects import Reject, make_reject

SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx"}
"""Names that file managers leave in folders, in lower case."""


@dataclass
class Listing:
    """The entries of one folder. `hidden`: how many hidden and system entries were ignored."""

    folders: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    hidden: int = 0


def list_folder(root: Path, folder: str, group: str | None = None) -> Listing:
    """List a folder below the root, sorted. Links are followed inside the root.

    Raises CollectionError if the folder cannot be read.
    """
    real, found = os.path.realpath(root), Listing()
    for child in sorted(scan(root / folder), key=lambda child: child.name):
        if is_hidden(child.name):
            found.hidden += 1
        elif reason := find_objection(child, real):
            found.rejects.append(make_reject(join(folder, child.name), group, reason))
        else:
            (found.folders if child.is_dir() else found.files).append(child.name)
    return found


def scan(folder: str | Path) -> list["os.DirEntry[str]"]:
    """Return the entries of a folder. Raises CollectionError if it cannot be read."""
    try:
        with os.scandir(folder) as children:
            return list(children)
    except OSError as error:
        reason = f"{folder} cannot be read: {error.strerror}: make it readable, or leave its group out"
        raise CollectionError(reason) from error


def find_objection(child: "os.DirEntry[str]", root: str) -> str | None:
    """Return why a file or folder cannot be used, given the real path of the collection's root; None if it can."""
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
        if not is_inside(child.path, root):
            return "is a link that leads outside the collection: copy the file, or link to it within"
    if not child.is_dir() and not child.is_file():
        return "is not a file but a pipe, a socket or a device"
    return None


def is_hidden(name: str) -> bool:
    """Whether a name is that of a hidden file or of a file manager's own."""
    return name.startswith(".") or name.lower() in SYSTEM_FILES


def count_files(folder: Path) -> int:
    """Return the number of files below a folder, without hidden ones. Unreadable folders count as empty."""
    if not folder.is_dir() or folder.is_symlink():
        return 1
    total = 0
    for _, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden(name)]
        total += sum(not is_hidden(name) for name in files)
    return total


def join(folder: str, name: str) -> str:
    """Join two paths below the root, where `.` is the root."""
    return name if folder == "." else folder if name == "." else f"{folder}/{name}"
