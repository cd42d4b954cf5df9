"""Samples as input of the network: read from shards, batched by group."""

import pickle
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from torch import Tensor

from icnet import images
from pipeline import tables
from pipeline.predict.plan import name_subgroups, space_evenly

ROWS_TOGETHER = 64
"""Rows of a samples table that lie together on disk."""


class ReadSamples:
    """CPU task: the samples of one shard as arrays; of a unit's, `sample` evenly spaced ones where there are more."""

    def __init__(self, samples: str, cut: int | None = None, sample: int | None = None) -> None:
        self.samples, self.cut, self.sample = Path(samples), cut, sample

    def __call__(self, task: dict[str, Any]) -> dict[str, Any]:
        columns = ["group", "name", "image", "sism", "height", "width"]
        rows = self._rows(task["start"], task["stop"], columns)
        for row, unit in zip(rows, name_subgroups([row["group"] for row in rows], self.cut), strict=True):
            row["image"], row["sism"] = images.decode(row["image"]), images.decode_gray(row["sism"])
            row["unit"] = unit
        return {**task, "payload": pickle.dumps(rows, protocol=5)}

    def _rows(self, start: int, stop: int, columns: list[str]) -> list[dict[str, Any]]:
        if self.sample is None:
            return tables.read_rows(self.samples, start, stop, columns).to_pylist()
        rows = []
        for _, some in groupby(
            start + space_evenly(stop - start, self.sample), key=lambda place: place // ROWS_TOGETHER
        ):
            places = list(some)
            near = tables.read_rows(self.samples, int(places[0]), int(places[-1]) + 1, columns)
            rows += near.take([place - places[0] for place in places]).to_pylist()
        return rows


@dataclass(frozen=True)
class GroupBatch:
    """Whole groups, or a piece of one, that go through the network together: their rows, images and SISMs."""

    groups: list[list[dict[str, Any]]]
    pictures: Tensor
    sisms: Tensor
