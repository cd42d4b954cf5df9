"""Small collections on disk, and stage index over them."""

from pathlib import Path

from pipeline import tables
from pipeline.index.config import IndexConfig
from pipeline.index.layouts import Dataset
from pipeline.index.stage import index_collection
from tests.helpers import badfiles

ENCODED = badfiles.file(badfiles.photograph(), "JPEG")


def plain(root: Path, groups: dict[str, int], images: str = "images", masks: str | None = "masks") -> Path:
    """A collection of such groups in two folders."""
    for group, count in groups.items():
        (root / images / group).mkdir(parents=True, exist_ok=True)
        if masks:
            (root / masks / group).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (root / images / group / f"{number}.jpg").write_bytes(ENCODED)
            if masks:
                (root / masks / group / f"{number}.png").write_bytes(badfiles.mask())
    return root


def make(root: Path, out: Path, config: dict | None = None, **dataset) -> tuple[list[dict], list[dict]]:
    """Rows and rejects of the stage."""
    index_collection(root, out, Dataset(root=str(root), **dataset), IndexConfig(**(config or {})))
    return tables.read_table(out).to_pylist(), tables.read_rejects(out).to_pylist()
