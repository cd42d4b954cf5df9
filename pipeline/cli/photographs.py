"""The photographs that `cosal predict` gets: a folder, a zip archive or image files."""

import os
import stat
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from pipeline import tables
from pipeline.cli.export import name_png
from pipeline.cli.output import OutputError, ProtectedFiles, is_valid_name
from pipeline.index.check import FileCheck, check_entries
from pipeline.index.config import IndexConfig
from pipeline.index.layouts import CollectionError
from pipeline.index.listing import is_hidden
from pipeline.index.regroup import regroup
from pipeline.index.walk import Entry, Group, list_group
from pipeline.runtime.csv_files import format_csv
from pipeline.runtime.progress import Progress

SCORES_FILE, REJECTS_FILE = "scores.csv", "rejects.csv"

IMAGES_FOLDER, OTHER_FOLDERS = "images", {"masks", "void"}
"""A benchmark has its groups in images/, beside these folders."""

MAX_UNPACKED_BYTES = 64 << 30
"""Size of the files of a zip archive: larger ones are refused."""


@dataclass(frozen=True)
class Photographs:
    """Groups of image files below a root, found by name; no file has been read."""

    root: Path
    groups: list[Group]
    protected: ProtectedFiles

    @property
    def entries(self) -> list[Entry]:
        """The image files of all groups."""
        return [entry for group in self.groups for entry in group.entries]

    def regroup(self, grouping: Mapping[str, str | None], file: str) -> "Photographs":
        """The same photographs in the groups of a file."""
        groups = list(regroup(self.groups, grouping, file))
        if not any(group.entries for group in groups):
            raise CollectionError(f"{file} has no group for any photograph in {self.root}")
        return replace(self, groups=groups)

    def list_outputs(self) -> list[str]:
        """The files that may be written for these photographs, as paths below the output folder."""
        maps = [name_png(entry.group, entry.name) for entry in self.entries if has_map_file(entry.group, entry.name)]
        sheets = [name_sheet(group.name) for group in self.groups if group.name and has_sheet_file(group.name)]
        return [*maps, *sheets, SCORES_FILE, REJECTS_FILE]

    def list_rejects(self) -> list[dict[str, Any]]:
        """Rows of REJECTS for images and sheets whose output file would have too long a name."""
        reason = "has too long a name: its {} cannot be written, rename it"
        images = [
            make_reject(entry.image, entry.group, reason.format("map"))
            for entry in self.entries
            if not has_map_file(entry.group, entry.name)
        ]
        sheets = [
            make_reject(group.folder, group.name, reason.format("contact sheet"))
            for group in self.groups
            if group.name and not has_sheet_file(group.name)
        ]
        return [*images, *sheets]

    def write_index(self, folder: Path) -> int:
        """Check all files and write an INDEX table; returns the number of images.

        Raises CollectionError if no file is an image.
        """
        config = IndexConfig()
        rows: list[dict[str, Any]] = []
        rejects = [reject for group in self.groups for reject in group.rejects]
        checked = check_entries(iter(self.entries), FileCheck(self.root, config), config.num_threads)
        with Progress("files checked", len(self.entries)) as progress:
            for results in checked:
                for result in results:
                    (rejects if "reason" in result else rows).append(result)
                progress.update(len(results))
        rows = [{name: row.get(name) for name in tables.INDEX.names} for row in rows]
        rows.sort(key=lambda row: (row["group"], row["name"]))
        table = pa.Table.from_pylist(rows, schema=tables.INDEX)
        tables.write_table(folder, table, rejects, stage="index", root=str(self.root))
        if not rows:
            first = f": {rejects[0]['path']!r} {rejects[0]['reason']}" if rejects else ""
            raise CollectionError(f"none of {len(rejects)} files in {self.root} can be used{first}")
        return len(rows)


@contextmanager
def find_photographs(paths: Sequence[Path], out: Path) -> Iterator[Photographs]:
    """List a folder, a zip archive or image files. An archive is unpacked for the duration of the block.

    Raises CollectionError if there is no file, and OutputError if `out` is in the folder of photographs.
    """
    for path in paths:
        if not path.exists():
            raise CollectionError(f"there is no file or folder {path}")
    if len(paths) == 1 and paths[0].is_dir():
        yield _list_folder(paths[0], out)
    elif len(paths) == 1 and zipfile.is_zipfile(paths[0]):
        with tempfile.TemporaryDirectory(prefix="cosal-") as temporary:
            root = _unpack(paths[0], Path(temporary))
            yield Photographs(root, _require_images(_list_groups(root), paths[0]), ProtectedFiles.find([], paths))
    else:
        yield _list_files(paths)


def _list_folder(root: Path, out: Path) -> Photographs:
    root = root.resolve()
    if out.resolve().is_relative_to(root):
        raise OutputError(f"{out} lies inside {root}: its maps would be photographs in the next run")
    groups = _require_images(_list_groups(root), root)
    files = [root / entry.image for group in groups for entry in group.entries]
    return Photographs(root, groups, ProtectedFiles.find([root], files))


def _list_files(paths: Sequence[Path]) -> Photographs:
    """Image files as one group, named after their folder."""
    for path in paths:
        if path.is_dir():
            raise CollectionError(f"{path} is a folder: give one folder, or image files")
    files = [path.parent.resolve() / path.name for path in paths]
    root = Path(os.path.commonpath([file.parent for file in files]))
    group = Group(root.name or "photographs", ".")
    names: set[str] = set()
    for file in files:
        path = file.relative_to(root).as_posix()
        if file.stem in names:
            group.rejects.append({**make_reject(path, group.name, "has the name of another file"), "stage": "index"})
            continue
        names.add(file.stem)
        group.entries.append(Entry(group.name, file.stem, path, None, None))
    group.entries.sort(key=lambda entry: entry.name)
    return Photographs(root, [group], ProtectedFiles.find([], files))


def _list_groups(root: Path) -> list[Group]:
    """Each folder with files is a group, named by its path below `root`."""
    base = _find_base(root)
    groups = []
    for folder, children, files in os.walk(base):
        children[:] = sorted(child for child in children if not is_hidden(child))
        if not any(not is_hidden(file) for file in files) and children:
            continue
        path = PurePosixPath(Path(folder).relative_to(base).as_posix())
        name = base.name or "photographs" if path == PurePosixPath(".") else path.as_posix()
        group = list_group(root, Path(folder).relative_to(root).as_posix(), name)
        inner = {PurePosixPath(group.folder, child).as_posix() for child in children}
        group.rejects = [
            row for row in group.rejects if row["path"] not in inner or Path(root, row["path"]).is_symlink()
        ]
        groups.append(group)
    return sorted(groups, key=lambda group: group.name)


def _find_base(root: Path) -> Path:
    children = {child.name for child in root.iterdir() if child.is_dir() and not is_hidden(child.name)}
    is_benchmark = IMAGES_FOLDER in children and children <= {IMAGES_FOLDER, *OTHER_FOLDERS}
    return root / IMAGES_FOLDER if is_benchmark else root


def _require_images(groups: list[Group], source: Path) -> list[Group]:
    if not any(group.entries for group in groups):
        raise CollectionError(f"there is no image in {source}: expected <group>/<image files>, or image files")
    return groups


def _unpack(archive: Path, folder: Path) -> Path:
    """Unpack an archive; returns the folder that holds its groups.

    Raises CollectionError if it is damaged, encrypted or too large.
    """
    root = folder / archive.stem
    root.mkdir()
    try:
        with zipfile.ZipFile(archive) as content:
            members = [member for member in content.infolist() if not stat.S_ISLNK(member.external_attr >> 16)]
            size = sum(member.file_size for member in members)
            if size > MAX_UNPACKED_BYTES:
                raise CollectionError(f"{archive} holds {size >> 30} GiB of files, at most 64 GiB are unpacked")
            content.extractall(root, members)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError) as error:
        raise CollectionError(f"{archive} cannot be unpacked: {error}") from error
    children = [child for child in root.iterdir() if not is_hidden(child.name)]
    return children[0] if len(children) == 1 and children[0].is_dir() else root


def has_map_file(group: str, name: str) -> bool:
    """Whether the name of the image's map is short enough for a file."""
    return is_valid_name(f"{name}.png") and all(is_valid_name(part) for part in group.split("/"))


def has_sheet_file(group: str) -> bool:
    """Whether the name of the group's contact sheet is short enough for a file."""
    return is_valid_name(name_sheet(group.rpartition("/")[2]))


def name_sheet(group: str) -> str:
    """The contact sheet of a group, as a path below the output folder."""
    return f"{group}.jpg"


def format_rejects(rows: Sequence[dict[str, Any]]) -> bytes:
    """Rows of REJECTS as CSV."""
    columns = tables.REJECTS.names
    return format_csv(columns, [[row[name] for name in columns] for row in rows])


def make_reject(path: str, group: str, reason: str) -> dict[str, Any]:
    """A row of REJECTS of stage export."""
    return {"path": path, "group": group, "stage": "export", "reason": reason, "error": "OutputError"}
