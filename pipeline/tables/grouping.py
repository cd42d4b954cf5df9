"""The groups of photographs as a CSV file, which people may edit: `photo`, `group`, and what else they like.

`photo` is the path of a photograph below the folder of the collection. An empty `group`, or `unsorted`, is none.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.runtime import files
from pipeline.runtime.csv_files import FORMULA_STARTS, format_csv
from pipeline.tables.manifest import TableError

COLUMNS = ("photo", "group", "confidence", "copy_of")
UNSORTED = "unsorted"


class GroupingError(TableError):
    """A file of groups that cannot be used."""


@dataclass(frozen=True)
class GroupedPhoto:
    """A photograph's row: `group` is None for an unsorted one, `copy_of` the path of another photograph or None."""

    photo: str
    group: str | None
    confidence: float = 1.0
    copy_of: str | None = None


def format_grouping(photos: Iterable[GroupedPhoto]) -> bytes:
    """The rows as CSV, those of each group together and its least certain member last."""
    rows = sorted(photos, key=lambda one: (one.group is None, one.group or "", -one.confidence, one.photo))
    cells = [[one.photo, one.group or UNSORTED, f"{one.confidence:.4f}", one.copy_of or ""] for one in rows]
    return format_csv(COLUMNS, cells)


def write_grouping(file: Path, photos: Iterable[GroupedPhoto]) -> None:
    """Write the file of groups, completely or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    files.write_file(file, format_grouping(photos))


def read_grouping(file: Path) -> dict[str, str | None]:
    """The group of each photograph by its path; None for an unsorted one.

    Raises GroupingError where the file is not CSV in UTF-8 with the columns photo and group, names a photograph twice,
    or has a group that cannot be the name of a folder.
    """
    found: dict[str, str | None] = {}
    try:
        with file.open(encoding="utf-8-sig", newline="") as content:
            reader = csv.DictReader(content)
            if not {"photo", "group"} <= set(reader.fieldnames or ()):
                raise GroupingError(f"{file} has no columns photo and group")
            for row in reader:
                photo, group = _restore(row["photo"] or ""), _restore(row["group"] or "").strip()
                if not photo and not group:
                    continue  # an empty row of a spreadsheet
                if photo in found:
                    raise GroupingError(f"{file}, line {reader.line_num}: {photo!r} is there twice")
                if any(part in ("", ".", "..") for part in group.split("/")) and group:
                    raise GroupingError(f"{file}, line {reader.line_num}: {group!r} is not the name of a group")
                found[photo] = None if group in ("", UNSORTED) else group
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise GroupingError(f"{file} cannot be read as CSV: {error}") from error
    return found


def _restore(cell: str) -> str:
    """The text of a cell without the apostrophe that keeps spreadsheets from running it."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA_STARTS) else cell
