"""Maps that others made: folders of `<group>/<name>.png`, found by the key of their image."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

Key = tuple[str, str]


class FolderError(ValueError):
    """A folder of maps that cannot be used; the message names it."""


@dataclass(frozen=True)
class MapFiles:
    """The files of a folder by key, and what does not fit the keys that were asked for."""

    files: dict[Key, Path]
    missing: list[Key]
    extra: list[Key]


def find_maps(folder: Path, keys: Collection[Key] | None = None) -> MapFiles:
    """Every map below `folder`, against `keys` where given. Raises FolderError where there is none.

    A PNG stands before a file of the same name and another format.
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


def name_keys(keys: Iterable[Key], most: int = 3) -> str:
    """The first few keys, for a sentence."""
    keys = ["/".join(key) for key in keys]
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more


def _rank_suffix(file: Path) -> int:
    suffix = file.suffix.lower()
    return SUFFIXES.index(suffix) if suffix in SUFFIXES else len(SUFFIXES)
