"""The photographs that `cosal predict` gets: their names, before anything is read or written."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.cli.export import name_png
from pipeline.cli.output import OutputError, ProtectedFiles, is_valid_name
from pipeline.index.layouts import CollectionError, find_folders
from pipeline.index.walk import Entry, walk_groups

SCORES_FILE, REJECTS_FILE = "scores.csv", "rejects.csv"


@dataclass(frozen=True)
class Photographs:
    """The images of a folder, found by name."""

    root: Path
    entries: list[Entry]

    @property
    def groups(self) -> list[str]:
        """Names of the groups, sorted."""
        return sorted({entry.group for entry in self.entries})

    def find_protected(self) -> ProtectedFiles:
        """The folder of photographs and the files in it."""
        paths = [self.root / path for entry in self.entries for path in (entry.image, entry.mask, entry.void) if path]
        return ProtectedFiles.find([self.root], paths)

    def list_outputs(self) -> list[str]:
        """The files that may be written for these photographs, as paths below the output folder."""
        maps = [name_png(entry.group, entry.name) for entry in self.entries if has_map_file(entry.group, entry.name)]
        sheets = [name_sheet(group) for group in self.groups if is_valid_name(name_sheet(group))]
        return [*maps, *sheets, SCORES_FILE, REJECTS_FILE]

    def list_rejects(self) -> list[dict[str, Any]]:
        """Rows of REJECTS for images and sheets whose output file would have too long a name."""
        reason = "has too long a name: its {} cannot be written, rename it"
        images = [
            make_reject(entry.image, entry.group, reason.format("map"))
            for entry in self.entries
            if not has_map_file(entry.group, entry.name)
        ]
        groups = [
            make_reject(group, group, reason.format("contact sheet"))
            for group in self.groups
            if not is_valid_name(name_sheet(group))
        ]
        return [*images, *groups]


def find_photographs(root: Path, out: Path) -> Photographs:
    """List a folder of groups, or of the photographs of one group.

    Raises OutputError if `out` is in this folder, and CollectionError if there is no image in it.
    """
    root = root.resolve()
    if out.resolve().is_relative_to(root):
        raise OutputError(f"{out} lies inside {root}: its maps would be photographs in the next run")
    folders = find_folders(root, "plain")
    entries = [entry for group in walk_groups(root, folders) for entry in group.entries]
    if not entries:
        raise CollectionError(f"there is no image in {root}: expected <group>/<image files>, or image files")
    return Photographs(root, entries)


def has_map_file(group: str, name: str) -> bool:
    """Whether the name of the image's map is short enough for a file."""
    return is_valid_name(f"{name}.png") and is_valid_name(group)


def name_sheet(group: str) -> str:
    """The contact sheet of a group, as a path below the output folder."""
    return f"{group}.jpg"


def make_reject(path: str, group: str, reason: str) -> dict[str, Any]:
    """A row of REJECTS of stage export."""
    return {"path": path, "group": group, "stage": "export", "reason": reason, "error": "OutputError"}
