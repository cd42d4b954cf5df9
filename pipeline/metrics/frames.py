"""Scores as tables for people and for files."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.metrics import aggregate
from pipeline.metrics.aggregate import Scores
from pipeline.metrics.records import HEADLINE, ICNET, ORIGINAL, RESIZED, WAYS, Results, Row
from pipeline.metrics.score import CURVES, METRICS, THRESHOLDS

Intervals = dict[str, tuple[float, float]]
"""Low and high end by metric."""


def to_metrics(sums: dict[Row, Scores], way: str, absent: int) -> dict[str, Any]:
    """HEADLINE by method, scored in one way, the number of scored images, and of images that could not be scored."""
    found = {method: scored for (method, other), scored in sums.items() if other == way}
    content: dict[str, Any] = {
        method: {name: round(value, 6) for name, value in scored.overall().items() if name in HEADLINE}
        for method, scored in found.items()
        if scored.images
    }
    return {**content, "images": found[ICNET].images, "absent": absent}


def to_overall_frame(sums: dict[Row, Scores], intervals: dict[Row, Intervals] | None = None) -> pd.DataFrame:
    """Each metric of each method: over images, over groups (`macro`), and its interval (`low`, `high`)."""
    rows = []
    for (method, way), found in sums.items():
        macro = found.macro()
        for name, value in found.overall().items():
            low, high = (intervals or {}).get((method, way), {}).get(name, (np.nan, np.nan))
            row = {**_describe_row(method, way), "metric": name, "value": value, "low": low, "high": high}
            rows.append({**row, "macro": macro[name], "images": found.images, "groups": len(found.groups)})
    names = ["method", "size", "convention", "metric", "value", "low", "high", "macro", "images", "groups"]
    return pd.DataFrame(rows, columns=names)


def to_group_frame(sums: dict[Row, Scores]) -> pd.DataFrame:
    """Each metric of each group, by method, size and convention."""
    rows = []
    for (method, way), found in sums.items():
        counts = dict(zip(found.groups, map(int, found.counts), strict=True))
        for group, value in found.by_group().items():
            rows.append({"group": group, **_describe_row(method, way), "images": counts[group], **value})
    return pd.DataFrame(rows, columns=["group", "method", "size", "convention", "images", *METRICS]).sort_values(
        ["group", "size", "convention", "method"], kind="stable", ascending=[True, False, False, True]
    )


def _describe_row(method: str, way: str) -> dict[str, str]:
    size, convention = WAYS[way]
    return {"method": method, "size": size, "convention": convention}


def to_curve_frame(sums: dict[Row, Scores]) -> pd.DataFrame:
    """The curves of each method by threshold, at the samples' size, by the paper's convention."""
    empty = pd.DataFrame(columns=["method", "threshold", *CURVES])
    parts = []
    for (method, way), found in sums.items():
        if way == RESIZED and found.images:
            columns = {name: found.curve(name) for name in CURVES}
            parts.append(pd.DataFrame({"method": method, "threshold": np.arange(THRESHOLDS), **columns}))
    return pd.concat(parts) if parts else empty


IMAGES = pa.schema(
    [
        *((name, pa.string()) for name in ("method", "size", "convention", "group", "name")),
        *((name, pa.float64()) for name in METRICS),
    ]
)
"""The metrics of images: the columns of images.parquet."""


def to_image_tables(results: Results) -> Iterator[pa.Table]:
    """Each metric of each image: a table for each method and way to score."""
    for (method, way), found in results.images.items():
        keys, values = results.keys.filter(pa.array(found.scored)), found.values[found.scored].T
        constants = [pa.repeat(text, len(keys)) for text in (method, *WAYS[way])]
        yield pa.table([*constants, keys["group"], keys["name"], *map(pa.array, values)], schema=IMAGES)


def format_summary(results: Results) -> str:
    """The printed table of all methods, sizes and conventions."""
    label, rows = {RESIZED: f"{results.size} px", ORIGINAL: ORIGINAL}, []
    for (method, way), found in results.sums.items():
        size, convention = WAYS[way]
        rows.append((method, label[size], convention, found))
    return aggregate.format_table(rows)
