"""The pages of a gallery: bounded in size, and safe for names with any character."""

import base64
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import jinja2

from pipeline.gallery.errors import COLORS, MISSED, UNLABELED, WRONG
from pipeline.gallery.sections import Section

MAX_PICTURES = 400
"""Photographs of one page."""

MAX_REJECTS, MAX_FLAGGED = 200, 50
"""Rejects and unreliable groups that the first page lists; it counts the others."""

RESOURCES = Path(__file__).parent

LEGEND = {"missed": COLORS[MISSED], "wrong": COLORS[WRONG], "no label": COLORS[UNLABELED]}
"""Colors of errors."""


@dataclass(frozen=True)
class Reject:
    """A file that could not be used, the stage that rejected it, and why."""

    path: str
    stage: str
    reason: str


@dataclass(frozen=True)
class Gallery:
    """What the pages show. `facts`: how the maps were made, by label, for instance the model's sha256.
    `rejects_file`: the file with all rejects, as a path below the folder of the page. `notes`: sentences at the top.
    `shows_errors`: whether the thumbnails have masks and errors."""

    title: str
    sections: list[Section]
    facts: dict[str, str] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    rejects_file: str | None = None
    notes: list[str] = field(default_factory=list)
    shows_errors: bool = False

    @property
    def num_pictures(self) -> int:
        """Photographs on all pages."""
        return sum(len(section.pictures) for section in self.sections)


@dataclass(frozen=True)
class Block:
    """A group on a page, or the part of it from picture `start` of `total`. `anchor`: its id on the page."""

    section: Section
    anchor: str
    start: int
    total: int


def count_pages_at_most(num_pictures: int) -> int:
    """The largest number of pages that so many photographs can need, in groups of any sizes.

    A page ends where the next block does not fit, so two neighbors hold more than MAX_PICTURES together.
    """
    return 2 * (num_pictures // (MAX_PICTURES + 1)) + 1


def name_page(number: int) -> str:
    """The file of a page; the first page has number 1."""
    return "index.html" if number == 1 else f"index-{number}.html"


def render_pages(gallery: Gallery) -> Iterator[tuple[str, bytes]]:
    """The file name and the HTML of each page, at least one. Equal galleries give equal bytes."""
    pages = split_pages(gallery.sections)
    template, style, script = _load_template(), _read_resource("style.css"), _read_resource("script.js")
    contents = [(name_page(number), page) for number, page in enumerate(pages, start=1)]
    flagged = [
        (block.section, f"{quote_path(name) if name != name_page(1) else ''}#{block.anchor}")
        for name, page in contents
        for block in page
        if block.section.flag and block.start == 0
    ]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    for number, (name, page) in enumerate(contents, start=1):
        text = template.render(
            gallery=gallery,
            blocks=page,
            contents=contents,
            number=number,
            flagged=flagged[:MAX_FLAGGED],
            num_flagged=len(flagged),
            rejects=gallery.rejects[:MAX_REJECTS],
            style=style,
            script=script,
            script_digest=digest,
            legend=LEGEND,
        )
        yield name, text.encode(errors="replace")


def split_pages(sections: Sequence[Section]) -> list[list[Block]]:
    """Spread groups over pages of at most MAX_PICTURES photographs, in order. Larger groups are split."""
    pages: list[list[Block]] = [[]]
    count = 0
    for number, section in enumerate(sections, start=1):
        total = len(section.pictures)
        for start in range(0, total, MAX_PICTURES):
            part = section.take(start, start + MAX_PICTURES)
            if count and count + len(part.pictures) > MAX_PICTURES:
                pages.append([])
                count = 0
            pages[-1].append(Block(part, f"group-{number}", start, total))
            count += len(part.pictures)
    return pages


def quote_path(path: str) -> str:
    """A path below the folder of the page as a URL. Every character with a meaning in URLs is quoted."""
    return f"./{quote(os.fsencode(path))}"


def make_source(thumbnail: str | bytes) -> str:
    """The URL of a thumbnail: a path below the folder of the page, or the bytes of a JPEG or PNG file."""
    if isinstance(thumbnail, str):
        return quote_path(thumbnail)
    kind = "png" if thumbnail.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(thumbnail).decode()}"


def _read_resource(name: str) -> str:
    return (RESOURCES / name).read_text(encoding="utf-8")


def _load_template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(RESOURCES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["url"] = quote_path
    environment.filters["source"] = make_source
    return environment.get_template("page.html.jinja")
