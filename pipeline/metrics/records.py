"""Saved results of stage evaluate: small metrics, tables for people, sums for the gate of stage register."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from icnet.images import encode
from pipeline import tables
from pipeline.metrics import aggregate
from pipeline.metrics.aggregate import Scores
from pipeline.metrics.score import CURVES, METRICS, NUMBERS, THRESHOLDS, Key, Score
from pipeline.runtime import files

ICNET, SISM = "icnet", "sism"
RESIZED, ORIGINAL = "resized", "original"
"""At the samples' size, as the authors score, and at the masks' own size, as later papers do."""
HEADLINE = ("max_f", "s", "mae")
GROUPS = pa.schema(
    [
        ("method", pa.string()),
        ("size", pa.string()),
        ("group", pa.string()),
        ("images", pa.int64()),
        ("numbers", pa.list_(pa.float64(), len(NUMBERS))),
        ("curves", pa.list_(pa.float64(), len(CURVES) * THRESHOLDS)),
    ]
)
"""One group a row: sums over its images, from which every metric of any set of groups follows."""

Row = tuple[str, str]
"""A method at a size."""
Intervals = dict[str, tuple[float, float]]
"""Low and high by metric."""


@dataclass
class Results:
    """Everything that was scored on one dataset; `edition` changes with any image, mask or void mask scored."""

    dataset: str
    edition: str
    size: int
    images: dict[Row, dict[Key, Score]] = field(default_factory=dict)
    absent: list[dict[str, str]] = field(default_factory=list)
    """What could not be scored, a row each: method, group, name, reason."""

    def scores(self) -> dict[Row, Scores]:
        """The sums of every method and size."""
        return {row: Scores.of(scored.items()) for row, scored in self.images.items()}

    def leave_out(self, method: str, keys: Iterable[Key], reason: str) -> None:
        """Note images that a method, or `all`, could not be scored on."""
        self.absent += [{"method": method, "group": group, "name": name, "reason": reason} for group, name in keys]

    def write(
        self, folder: Path, sums: dict[Row, Scores], intervals: dict[Row, Intervals], sheets: dict[str, np.ndarray]
    ) -> None:
        """Write every file; `metrics.json`, of the samples' size, last."""
        (folder / "panels").mkdir(parents=True)
        for name, picture in sheets.items():
            (folder / "panels" / f"{name}.png").write_bytes(encode(picture))
        write_sums(folder / "groups.parquet", sums, self.dataset, self.edition)
        to_overall_table(sums, intervals).to_csv(folder / "scores.csv", index=False, float_format="%.6f")
        to_group_table(sums).to_csv(folder / "groups.csv", index=False, float_format="%.6f")
        to_curve_table(sums).to_csv(folder / "curves.csv", index=False, float_format="%.6f")
        absent = pd.DataFrame(self.absent, columns=["method", "group", "name", "reason"])
        absent.to_csv(folder / "absent.csv", index=False)
        tables.write_parquet(self._images(), folder / "images.parquet")
        for name, size in (("original.json", ORIGINAL), ("metrics.json", RESIZED)):
            files.write_json(folder / name, to_metrics(sums, size, len(self.absent)))

    def _images(self) -> pa.Table:
        rows: list[dict[str, Any]] = []
        for (method, size), scored in self.images.items():
            for (group, name), one in sorted(scored.items()):
                rows.append({"method": method, "size": size, "group": group, "name": name, **one.metrics()})
        names = [(name, pa.string()) for name in ("method", "size", "group", "name")]
        return pa.Table.from_pylist(rows, schema=pa.schema([*names, *((name, pa.float64()) for name in METRICS)]))


def to_metrics(sums: dict[Row, Scores], size: str, absent: int) -> dict[str, Any]:
    """HEADLINE by method at one size, and how many images were scored and could not be."""
    found = {method: scored for (method, at), scored in sums.items() if at == size}
    content: dict[str, Any] = {
        method: {name: round(value, 6) for name, value in scored.overall().items() if name in HEADLINE}
        for method, scored in found.items()
        if scored.images
    }
    return {**content, "images": found[ICNET].images, "absent": absent}


def to_overall_table(sums: dict[Row, Scores], intervals: dict[Row, Intervals] | None = None) -> pd.DataFrame:
    """Every metric of every method over all images and with each group alike, with its interval."""
    rows = []
    for (method, size), found in sums.items():
        macro = found.macro()
        for name, value in found.overall().items():
            low, high = (intervals or {}).get((method, size), {}).get(name, (np.nan, np.nan))
            row = {"method": method, "size": size, "metric": name, "value": value, "low": low, "high": high}
            rows.append({**row, "macro": macro[name], "images": found.images, "groups": len(found.groups)})
    names = ["method", "size", "metric", "value", "low", "high", "macro", "images", "groups"]
    return pd.DataFrame(rows, columns=names)


def to_group_table(sums: dict[Row, Scores]) -> pd.DataFrame:
    """Every metric of every group, by method and size."""
    rows = []
    for (method, size), found in sums.items():
        counts = dict(zip(found.groups, map(int, found.counts), strict=True))
        for group, value in found.by_group().items():
            rows.append({"group": group, "method": method, "size": size, "images": counts[group], **value})
    return pd.DataFrame(rows, columns=["group", "method", "size", "images", *METRICS]).sort_values(
        ["group", "size", "method"], kind="stable", ascending=[True, False, True]
    )


def to_curve_table(sums: dict[Row, Scores]) -> pd.DataFrame:
    """The curves of every method over the threshold, at the samples' size."""
    parts = [pd.DataFrame(columns=["method", "threshold", *CURVES])]
    for (method, size), found in sums.items():
        if size == RESIZED and found.images:
            columns = {name: found.curve(name) for name in CURVES}
            parts.append(pd.DataFrame({"method": method, "threshold": np.arange(THRESHOLDS), **columns}))
    return pd.concat(parts[1:] or parts)


def write_sums(file: Path, sums: dict[Row, Scores], dataset: str, edition: str) -> None:
    """Write the sums of every method and size, whole or not at all."""
    rows = []
    for (method, size), found in sums.items():
        for place, group in enumerate(found.groups):
            row = {"method": method, "size": size, "group": group, "images": int(found.counts[place])}
            rows.append({**row, "numbers": found.numbers[place], "curves": found.curves[place].ravel()})
    schema = GROUPS.with_metadata({"dataset": dataset, "edition": edition})
    tables.write_parquet(pa.Table.from_pylist(rows, schema=schema), file)


def read_sums(file: Path) -> tuple[dict[Row, Scores], str]:
    """What `write_sums` wrote, and the edition of the dataset that it was scored on."""
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


def format_summary(results: Results, sums: dict[Row, Scores]) -> str:
    """The table of methods and sizes that a person reads."""
    label = {RESIZED: f"{results.size} px", ORIGINAL: ORIGINAL}
    return aggregate.format_table([(method, label[size], found) for (method, size), found in sums.items()])
