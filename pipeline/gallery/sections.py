"""The groups of a gallery, and the photographs of each in the order in which they are shown."""

import math
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from pipeline import tables
from pipeline.gallery.embedded import EmbeddedThumbnails
from pipeline.gallery.thumbnails import ThumbnailNames, match_samples, name_thumbnails

SCORES = ("weight", "area", "agreement", "saliency")


@dataclass(frozen=True)
class Picture:
    """One photograph. `height`, `width`: px of the original. `scores`: by name of SCORES, without those that the table
    lacks, or other labels. `full_map`: the file of the map at original size, as a path below the folder of the page.
    `caption`: what stands below the photograph, None for the weight."""

    name: str
    height: int
    width: int
    scores: dict[str, float]
    thumbnails: ThumbnailNames | EmbeddedThumbnails
    full_map: str | None = None
    caption: str | None = None


@dataclass(frozen=True)
class Section:
    """A group. `flag`: why its maps are unreliable; `sheet`: its contact sheet, as a path below the page's folder;
    `note`: a sentence below its name."""

    group: str
    pictures: list[Picture]
    flag: str | None = None
    sheet: str | None = None
    note: str | None = None

    def take(self, start: int, stop: int) -> "Section":
        """The section with some of its pictures."""
        return replace(self, pictures=self.pictures[start:stop])


def read_sections(samples: Path, maps: Path) -> list[Section]:
    """The groups of a maps table, by name. In each, the photograph that fits its group best comes first.

    Raises GalleryError if the samples are not those of the maps, and TableError if a table is unfinished.
    """
    found = tables.read_table(maps, ["group", "name", *SCORES]).to_pylist()
    inputs = tables.read_table(samples, ["group", "name", "height", "width"]).take(match_samples(samples, maps))
    rows = [{**one, **other} for one, other in zip(inputs.to_pylist(), found, strict=True)]
    return [
        Section(group, sorted(map(_make_picture, members), key=_rank))
        for group, members in groupby(rows, key=lambda row: row["group"])
    ]


def _make_picture(row: dict[str, Any]) -> Picture:
    names = name_thumbnails(row["group"], row["name"])
    return Picture(row["name"], row["height"], row["width"], select_scores(row), names)


def select_scores(row: dict[str, Any]) -> dict[str, float]:
    """The SCORES that a row of MAPS has."""
    return {name: row[name] for name in SCORES if row[name] is not None and math.isfinite(row[name])}


def _rank(picture: Picture) -> tuple[float, str]:
    return -picture.scores.get("weight", -math.inf), picture.name
