"""The file of sums, groups.parquet: one row a group, from which every metric of any set of groups follows."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import tables
from pipeline.metrics.aggregate import Scores
from pipeline.metrics.records import Row
from pipeline.metrics.score import CURVES, NUMBERS, THRESHOLDS

SUMS = pa.schema(
    [
        ("method", pa.string()),
        ("size", pa.string()),
        ("group", pa.string()),
        ("images", pa.int64()),
        ("numbers", pa.list_(pa.float64(), len(NUMBERS))),
        ("curves", pa.list_(pa.float64(), len(CURVES) * THRESHOLDS)),
    ]
)
"""`numbers` and `curves` are sums over the images of the group."""


def write_sums(file: Path, sums: dict[Row, Scores], dataset: str, edition: str) -> None:
    """Write the sums of every method and size. The file is complete or absent."""
    rows = []
    for (method, size), found in sums.items():
        for place, group in enumerate(found.groups):
            row = {"method": method, "size": size, "group": group, "images": int(found.counts[place])}
            rows.append({**row, "numbers": found.numbers[place], "curves": found.curves[place].ravel()})
    schema = SUMS.with_metadata({"dataset": dataset, "edition": edition})
    tables.write_parquet(pa.Table.from_pylist(rows, schema=schema), file)


def read_sums(file: Path) -> tuple[dict[Row, Scores], str]:
    """The sums of every method and size, and the edition of the dataset."""
    table = pq.read_table(file)
    sums = {}
    for row in dict.fromkeys(zip(table["method"].to_pylist(), table["size"].to_pylist(), strict=True)):
        part = table.filter((pa.compute.field("method") == row[0]) & (pa.compute.field("size") == row[1]))
        sums[row] = Scores(
            tuple(part["group"].to_pylist()),
            part["images"].to_numpy(),
            np.array(part["numbers"].to_pylist()),
            np.array(part["curves"].to_pylist()).reshape(len(part), len(CURVES), THRESHOLDS),
        )
    return sums, (table.schema.metadata or {}).get(b"edition", b"").decode()
