"""The original images of a samples table, which maps are refined with."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from icnet import images
from icnet.images import Pixels
from pipeline import tables
from pipeline.runtime.executor import Executor, SharedValue
from pipeline.tables import TableError


@dataclass(frozen=True)
class OriginalFile:
    """A file `path` below the `root` of its collection, and the digest that the index has of it."""

    root: str
    path: str
    digest: str

    def decode(self) -> Pixels:
        """The upright image, uint8 RGB [H, W, 3]. Raises OriginalError if it cannot be read or has changed."""
        return images.decode(tables.read_original(Path(self.root), self.path, self.digest))


@dataclass(frozen=True)
class Originals:
    """The original file of each row of a samples table: columns `image` and `image_digest`."""

    root: str
    files: SharedValue[pa.Table]

    def list_files(self, start: int, stop: int) -> list[OriginalFile]:
        """Those of rows `start` to `stop`."""
        rows = self.files.get().slice(start, stop - start).to_pylist()
        return [OriginalFile(self.root, row["image"], row["image_digest"]) for row in rows]


def find_originals(index: Path, samples: Path, executor: Executor) -> Originals:
    """The original files of a samples table by its index. Raises TableError if the index does not list them all."""
    rows = tables.read_table(index, ["group", "name", "image", "image_digest"])
    positions = tables.find_positions(tables.read_table(samples, ["group", "name"]), rows)
    if (positions < 0).any():
        raise TableError(f"{index} does not list every image of {samples}: run stage sism again (`dvc repro`)")
    files = rows.select(["image", "image_digest"]).take(pa.array(positions)).combine_chunks()
    return Originals(str(Path(tables.load_manifest(index)["root"]).resolve()), executor.share(files))
