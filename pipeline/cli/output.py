"""A folder of results: no input and no foreign file is overwritten, and old results are removed."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pipeline.runtime import files, locks
from pipeline.tables import WORK_FOLDER

RECORD_FILE = f"{WORK_FOLDER}/files.json"
"""The names of all files that were written to OUT."""

MAX_NAME_BYTES = 255
"""Longest file name of common file systems."""


class OutputError(ValueError):
    """Results that cannot be written; the message says where and why."""


@dataclass(frozen=True)
class ProtectedFiles:
    """Folders (resolved) and files (device and inode) that must not change."""

    folders: tuple[Path, ...] = ()
    inodes: frozenset[tuple[int, int]] = field(default_factory=frozenset)

    @classmethod
    def find(cls, folders: Iterable[Path], paths: Iterable[Path]) -> "ProtectedFiles":
        """The folders with all that is in them, and the files with all their hard links."""
        inodes = set()
        for path in paths:
            try:
                found = path.stat()
            except OSError:
                continue
            inodes.add((found.st_dev, found.st_ino))
        return cls(tuple(folder.resolve() for folder in folders), frozenset(inodes))


class OutputFolder:
    """Writes files below a folder: `plan` checks all of them, then come `start`, `write` and `remove_old_files`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.planned: set[str] = set()
        self.written: set[str] = set()
        self.written_before = self._read_record()

    def plan(self, names: Iterable[str], protected: ProtectedFiles) -> None:
        """Set the files to be written, as paths below the folder. Nothing is written yet.

        Raises OutputError if one of them is an input, is in a folder of inputs, would be written through a link, or
        exists and was not written by an earlier run.
        """
        self.planned = set(names)
        self._check_name_conflicts()
        for name in sorted({RECORD_FILE, *self.planned}):
            self._check_target(name, protected)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other runs out for the duration of a block. Raises LockedError if there is one."""
        try:
            (self.folder / WORK_FOLDER).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.folder} cannot be written: {error.strerror}") from error
        with locks.lock_output(self.folder / WORK_FOLDER / "run"):
            yield

    def start(self) -> None:
        """Record the planned files, so that a later run knows them even if this one is interrupted."""
        self._write_record(self.planned | self.written_before)

    def write(self, name: str, content: bytes) -> None:
        """Write a planned file, completely or not at all."""
        if name not in self.planned:
            raise OutputError(f"{self.folder / name} was not planned to be written")
        try:
            self._check_parents(self.folder / name)
            files.write_file(self.folder / name, content)
        except OSError as error:
            raise OutputError(f"{self.folder / name} cannot be written: {error.strerror}") from error
        self.written.add(name)

    def remove_old_files(self) -> list[str]:
        """Remove what earlier runs wrote and this one did not; returns the names of these files."""
        removed = []
        for name in sorted(self.written_before - self.written):
            file = self.folder / name
            if file.is_symlink() or not file.is_file() or file.parent.is_symlink():
                continue
            file.unlink()
            removed.append(name)
            if file.parent != self.folder and not any(file.parent.iterdir()):
                file.parent.rmdir()
        self._write_record(self.written)
        return removed

    def _check_name_conflicts(self) -> None:
        folders = {str(PurePosixPath(name).parent) for name in self.planned}
        for name in sorted(self.planned & folders):
            raise OutputError(f"{name!r} would be both a file and a folder of {self.folder}: rename the group {name!r}")

    def _check_target(self, name: str, protected: ProtectedFiles) -> None:
        file = self.folder / name
        self._check_parents(file)
        for folder in protected.folders:
            if file.is_relative_to(folder):
                raise OutputError(f"{file} would be written to {folder}, a folder of inputs: choose another folder")
        try:
            found = file.lstat()
        except FileNotFoundError:
            return
        except OSError as error:
            raise OutputError(f"{file} cannot be written: {error.strerror}") from error
        if (found.st_dev, found.st_ino) in protected.inodes:
            raise OutputError(f"{file} is one of the inputs: choose another folder")
        if name not in self.written_before and name != RECORD_FILE:
            raise OutputError(f"{file} exists and was not written by cosal: move it or choose another folder")

    def _check_parents(self, file: Path) -> None:
        for parent in file.parents:
            if parent == self.folder:
                return
            if parent.is_symlink():
                raise OutputError(f"{parent} is a link: remove it or choose another folder")
            if parent.exists() and not parent.is_dir():
                raise OutputError(f"{parent} is a file: remove it or choose another folder")
        raise OutputError(f"{file} is not below {self.folder}")

    def _read_record(self) -> set[str]:
        try:
            names = json.loads((self.folder / RECORD_FILE).read_bytes())
        except (OSError, ValueError):
            return set()
        return {name for name in names if _is_inside(name)} if isinstance(names, list) else set()

    def _write_record(self, names: set[str]) -> None:
        try:
            files.write_json(self.folder / RECORD_FILE, sorted(names))
        except OSError as error:
            raise OutputError(f"{self.folder} cannot be written: {error.strerror}") from error


def is_valid_name(name: str) -> bool:
    """Whether a file system accepts `name` as the name of one file."""
    return len(os.fsencode(name)) <= MAX_NAME_BYTES


def _is_inside(name: object) -> bool:
    return isinstance(name, str) and not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts
