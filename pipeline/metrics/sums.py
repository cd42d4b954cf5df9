"""The file of sums, groups.parquet: one row a group, from which every metric of any set of groups follows."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
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
    """Write the sums of every method and way to score (column `size`). The file is complete or absent."""
    schema = SUMS.with_metadata({"dataset": dataset, "edition": edition})
    tables.stream_parquet((_to_table(row, found, schema) for row, found in sums.items()), schema, file)


def _to_table(row: Row, found: Scores, schema: pa.Schema) -> pa.Table:
    count = len(found.groups)
    lists = [
        pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), type=schema.field(name).type)
        for name, values in (("numbers", found.numbers), ("curves", found.curves))
    ]
    texts = [pa.repeat(text, count) for text in row]
    return pa.table([*texts, pa.array(found.groups, pa.string()), pa.array(found.counts), *lists], schema=schema)


def read_sums(file: Path) -> tuple[dict[Row, Scores], str]:
    """The sums of every method and way to score, and the edition of the dataset."""
    table = pq.read_table(file)
    sums = {}
    for row in table.group_by(["method", "size"], use_threads=False).aggregate([]).to_pylist():
        part = table.filter((pc.field("method") == row["method"]) & (pc.field("size") == row["size"]))
        sums[row["method"], row["size"]] = Scores(
            tuple(part["group"].to_pylist()),
            part["images"].to_numpy(),
            _to_array(part["numbers"], len(NUMBERS)),
            _to_array(part["curves"], len(CURVES), THRESHOLDS),
        )
    return sums, (table.schema.metadata or {}).get(b"edition", b"").decode()


def _to_array(column: pa.ChunkedArray, *shape: int) -> np.ndarray:
    values: np.ndarray = column.combine_chunks().flatten().to_numpy()
    return values.reshape(-1, *shape)
