"""Maps tables for galleries, and the links of pages."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pyarrow as pa

from icnet import images
from pipeline import tables
from tests.helpers import photographs

HOSTILE = [
    "<script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked = 1">',
    "it's #1? 50%20 & more",
    "javascript:window.hacked = 1",
    "{{ 7 * 7 }} </script>",
    "groß 犬 \u202eabc",
]


def write_tables(folder: Path, sizes: dict[str, int], saliency: float = 0.4) -> Path:
    """A samples table, `folder`/samples, and maps of it whose weights fall from name to name; returns the maps."""
    samples = photographs.samples(folder / "samples", sizes, 32)
    rows = [
        {
            "group": row["group"],
            "name": row["name"],
            "map": images.encode(np.full((row["height"], row["width"]), 200, np.uint8)),
            "weight": 1 - 0.1 * int(row["name"]),
            "area": 0.5,
            "agreement": 0.25,
            "saliency": saliency,
        }
        for row in tables.read_table(samples).to_pylist()
    ]
    tables.write_table(
        folder / "maps", pa.Table.from_pylist(rows, schema=tables.MAPS), [], stage="predict", model="ab12"
    )
    return folder / "maps"


class PageParser(HTMLParser):
    """Collects the URLs, the tags and the event handlers of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.tags: list[str] = []
        self.events: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.urls += [value or "" for name, value in attrs if name in ("src", "href")]
        self.events += [name for name, _ in attrs if name.startswith("on")]

    def list_files(self) -> list[str]:
        """The files that the page links, relative to it. Raises AssertionError if a URL is not a relative one."""
        found = [url for url in self.urls if not url.startswith("#") and url != "data:,"]
        assert all(url.startswith("./") and ":" not in url and "?" not in url for url in found), found
        return [unquote(url.partition("#")[0]) for url in found]
