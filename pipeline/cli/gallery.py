"""The page of `cosal predict` and `cosal gallery`: its thumbnails are written group by group, the pages at the end."""

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline import gallery, tables
from pipeline.cli.output import OutputFolder, ProtectedFiles
from pipeline.predict.maps import find_empty_groups
from pipeline.runtime.progress import Progress
from pipeline.tables import TableError

PAGE = gallery.name_page(1)

UNRELIABLE = "SISMs are nearly empty: maps are unreliable"


@dataclass(frozen=True)
class TablePair:
    """A maps table and the samples table that it was made from."""

    samples: Path
    maps: Path


def list_gallery_files(keys: Sequence[tuple[str, str]]) -> list[str]:
    """The files that the pages of images with these (group, name) may have, as paths below the output folder."""
    pages = [gallery.name_page(number + 1) for number in range(gallery.count_pages_at_most(len(keys)))]
    return [*pages, *(file for key in keys for file in gallery.name_thumbnails(*key).list_names())]


def is_thumbnail(name: str) -> bool:
    """Whether a file of the output folder is a thumbnail of the page."""
    return name.startswith(f"{gallery.FOLDER}/")


def write_thumbnails(pair: TablePair, output: OutputFolder) -> None:
    """Write the thumbnails of a maps table."""
    for name, content in gallery.draw_thumbnails(pair.samples, pair.maps):
        output.write(name, content)


def write_pages(page: gallery.Gallery, output: OutputFolder) -> None:
    """Write the pages. Their thumbnails are written before."""
    for name, content in gallery.render_pages(page):
        output.write(name, content)


def read_groups(
    pairs: Iterable[TablePair],
    find_map: Callable[[str, str], str | None] = lambda group, name: None,
    find_sheet: Callable[[str], str | None] = lambda group: None,
) -> list[gallery.Section]:
    """The groups of maps tables, with flags. `find_map`, `find_sheet`: files of the output folder that pages link."""
    sections = []
    for pair in pairs:
        empty = set(find_empty_groups(pair.maps))
        for section in gallery.read_sections(pair.samples, pair.maps):
            group = section.group
            pictures = [replace(one, full_map=find_map(group, one.name)) for one in section.pictures]
            flag = UNRELIABLE if group in empty else None
            sections.append(replace(section, pictures=pictures, flag=flag, sheet=find_sheet(group)))
    return sections


def make_rejects(rows: Iterable[dict[str, Any]]) -> list[gallery.Reject]:
    """Rows of REJECTS for the page."""
    return [gallery.Reject(row["path"], row["stage"] or "", row["reason"] or "") for row in rows]


def format_command(*arguments: object) -> str:
    """A command as one types it in a shell. None is left out."""
    return shlex.join(["cosal", *(str(one) for one in arguments if one is not None)])


def make_gallery(table: Path, out: Path, samples: Path | None = None) -> int:
    """Write the page of a maps table to `out`; returns the number of photographs.

    `samples`: the samples table of the maps. None looks for it beside the maps table, where the stages put it.

    Raises TableError if a table is missing, GalleryError if the samples are not those of the maps, and OutputError if a
    file must not be written.
    """
    manifest = tables.load_manifest(table)
    pair = TablePair(samples or _find_beside(table, "samples"), table)
    sources = [pair.samples, table]
    rejects = [row for source in _list_reject_tables(pair) for row in tables.read_rejects(source).to_pylist()]
    rows = tables.read_table(table, ["group", "name"]).to_pylist()
    output = OutputFolder(out)
    output.plan(list_gallery_files([(row["group"], row["name"]) for row in rows]), ProtectedFiles.find(sources, []))
    facts = {"sha256 of the model": str(manifest["model"])} if manifest.get("model") else {}
    facts["Command"] = format_command("gallery", table, out, *(["--samples", samples] if samples else []))
    with output.lock():
        output.start()
        with Progress("thumbnails", len(rows)) as progress:
            for name, content in gallery.draw_thumbnails(pair.samples, pair.maps):
                output.write(name, content)
                progress.update(1 / 3)
        page = gallery.Gallery(
            f"Co-saliency maps of {table.resolve().name}", read_groups([pair]), facts, make_rejects(rejects)
        )
        write_pages(page, output)
        output.remove_old_files()
    return len(rows)


def _find_beside(table: Path, kind: str) -> Path:
    """The table that a maps table was made from: data/<kind>/<name> of data/maps/<name>, or <kind> beside `table`."""
    folder = table.resolve()
    for found in (folder.parent.parent / kind / folder.name, folder.with_name(kind)):
        if tables.read_manifest(found) is not None:
            return found
    raise TableError(f"there is no {kind} table beside {table}: name it with --samples")


def _list_reject_tables(pair: TablePair) -> list[Path]:
    """The tables whose rejects have no map: the samples, and the index where it is beside them."""
    try:
        return [_find_beside(pair.maps, "index"), pair.samples]
    except TableError:
        return [pair.samples]
