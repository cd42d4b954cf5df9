"""Folders of maps that other programs made: `<group>/<name>.png`."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.metrics.score import Key

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


class FolderError(ValueError):
    """A folder of maps that cannot be used. The message names it."""


@dataclass(frozen=True)
class MapFiles:
    """The files of a folder by key, keys without a file, and files whose key is not wanted."""

    files: dict[Key, Path]
    missing: list[Key]
    extra: list[Key]


def find_maps(folder: Path, keys: Collection[Key] | None = None) -> MapFiles:
    """All maps below `folder`, compared with `keys` if given. Raises FolderError if there are none.

    If two files have the same name and different formats, the PNG file is used.
    """
    if not folder.is_dir():
        raise FolderError(f"there is no folder {folder}")
    files: dict[Key, Path] = {}
    for file in sorted(folder.glob("*/*"), key=lambda file: (_rank_suffix(file), file.as_posix())):
        if file.suffix.lower() in SUFFIXES and not file.name.startswith("."):
            files.setdefault((file.parent.name, file.stem), file)
    if not files:
        raise FolderError(f"{folder} holds no maps: expected <group>/<name>.png")
    wanted = set(files if keys is None else keys)
    return MapFiles(
        {key: file for key, file in sorted(files.items()) if key in wanted},
        sorted(wanted - files.keys()),
        sorted(files.keys() - wanted),
    )


def format_keys(keys: Iterable[Key], most: int = 3) -> str:
    """The first few keys, for a message."""
    names = ["/".join(key) for key in keys]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _rank_suffix(file: Path) -> int:
    suffix = file.suffix.lower()
    return SUFFIXES.index(suffix) if suffix in SUFFIXES else len(SUFFIXES)
