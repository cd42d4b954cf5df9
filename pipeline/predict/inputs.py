"""Samples as input of the network: read from shards, put together in batches."""

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from icnet import images
from icnet.images.encoded import decode_encoded
from pipeline import tables
from pipeline.predict.originals import Originals
from pipeline.predict.plan import name_subgroups, space_evenly
from pipeline.runtime import guards
from pipeline.runtime.executor import Task

COLUMNS = ["group", "name", "image", "sism", "height", "width"]

Row = dict[str, Any]
"""A row of SAMPLES with decoded image [s, s, 3] and SISM [s, s], both uint8, the name of its subgroup, and its place in
the shard. For maps that are refined: its original file."""


class ReadSamples:
    """CPU task: read and decode the samples of one shard. The payload has them, and the rejects.

    With `max_images`, only that many evenly spaced samples are read. With `originals`, rows name their original files.
    """

    def __init__(
        self,
        samples: str,
        subgroup_size: int | None = None,
        max_images: int | None = None,
        originals: Originals | None = None,
    ) -> None:
        self.samples, self.subgroup_size, self.max_images = Path(samples), subgroup_size, max_images
        self.originals = originals

    def __call__(self, task: Task) -> Task:
        rows = self._read_rows(task["start"], task["stop"])
        subgroups = name_subgroups([row["group"] for row in rows], self.subgroup_size)
        skip, rejects = task.get("skip", {}), guards.make_rejects(rows, task, "predict")
        for place, (row, subgroup) in enumerate(zip(rows, subgroups, strict=True)):
            row["subgroup"], row["place"] = subgroup, place
        if self.originals is not None:
            for row, file in zip(rows, self.originals.list_files(task["start"], task["stop"]), strict=True):
                row["original"] = file
        rows = [row for row in rows if row["place"] not in skip]
        for row in rows:
            row["image"], row["sism"] = (decode_encoded(row[column]) for column in ("image", "sism"))
        return {**task, "payload": pickle.dumps((rows, rejects), protocol=5)}

    def _read_rows(self, start: int, stop: int) -> list[Row]:
        if self.max_images is None:
            return tables.read_rows(self.samples, start, stop, COLUMNS).to_pylist()
        positions = start + space_evenly(stop - start, self.max_images)
        return tables.read_rows_at(self.samples, positions, COLUMNS).to_pylist()


@dataclass(frozen=True)
class Batch:
    """Subgroups that go through the network in one call: their rows, images [n, 3, s, s] and SISMs [n, 1, s, s]."""

    subgroups: list[list[Row]]
    images: Tensor
    sisms: Tensor

    @property
    def sizes(self) -> list[int]:
        """Images of each subgroup."""
        return [len(rows) for rows in self.subgroups]


def make_batches(rows: list[Row], batch_size: int, device: torch.device) -> Iterator[Batch]:
    """Put whole subgroups together in batches of at most `batch_size` images. A larger subgroup is a batch alone."""
    batch: list[list[Row]] = []
    for _, members in groupby(rows, key=itemgetter("subgroup")):
        subgroup = list(members)
        if batch and sum(map(len, batch)) + len(subgroup) > batch_size:
            yield _make_batch(batch, device)
            batch = []
        batch.append(subgroup)
    if batch:
        yield _make_batch(batch, device)


def _make_batch(subgroups: list[list[Row]], device: torch.device) -> Batch:
    rows = [row for subgroup in subgroups for row in subgroup]
    inputs = images.normalize(np.stack([row["image"] for row in rows]))
    sisms = images.scale_maps(np.stack([row["sism"] for row in rows]))
    return Batch(subgroups, inputs.to(device), sisms.to(device))
