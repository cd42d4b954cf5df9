"""Samples that are there already, under other names: photographs that were sorted into other groups."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pyarrow as pa

from pipeline import tables
from pipeline.tables import Shard


@dataclass(frozen=True)
class KnownSamples:
    """A finished samples table without masks, made by the method, with the size and the batch size of a `SamplesJob`.

    Photographs are recognized by the digests of their files.
    """

    folder: Path
    places: dict[str, int]
    """Row in the table by digest."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Raises TableError if the table is missing or unfinished."""
        digests = tables.read_table(folder, ["digest"])["digest"].to_pylist()
        return cls(folder, {digest: place for place, digest in enumerate(digests)})

    def write_shard(self, address: str, shard: Shard, index: pa.Table) -> bool:
        """Write the shard with these rows of the index as `SamplesJob` would; False if an image is not known."""
        rows = index.slice(shard.start, len(shard)).to_pylist()
        if not all(row["image_digest"] in self.places and row["mask"] is None for row in rows):
            return False
        found = tables.read_rows_at(self.folder, [self.places[row["image_digest"]] for row in rows]).to_pylist()
        named = [
            {**sample, "group": row["group"], "name": row["name"]} for sample, row in zip(found, rows, strict=True)
        ]
        tables.write_shard(address, shard, tables.SAMPLES, named, [])
        return True
