"""The workers of stage group: what describes each photograph, shard by shard."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from icnet import images
from icnet.images import Pixels
from icnet.images.encoded import decode_encoded
from pipeline import tables
from pipeline.group.embedders import make_embedder
from pipeline.runtime import guards
from pipeline.runtime.executor import Task, WorkerContext
from pipeline.tables import Shard

COLUMNS = ["group", "name", "image", "sism"]

HASH_SIDE = 8
"""Cells along a side of the picture whose brightness differences are the 64 bits of a hash."""


class ReadSamples:
    """CPU task: read and decode images and SISMs of one shard of a samples table."""

    def __init__(self, samples: str) -> None:
        self.samples = Path(samples)

    def __call__(self, task: Task) -> Task:
        rows = tables.read_rows(self.samples, task["start"], task["stop"], COLUMNS).to_pylist()
        rejects = guards.make_rejects(rows, task, "group")
        rows = [row for place, row in enumerate(rows) if place not in task.get("skip", {})]
        for row in rows:
            row["image"], row["sism"] = (decode_encoded(row[column]) for column in ("image", "sism"))
        return {**task, "payload": pickle.dumps((rows, rejects), protocol=5)}


class EmbedActor:
    """Writes the shards of the table of embeddings."""

    def __init__(self, folder: str, model: str, embedding: str | None, batch_size: int, context: WorkerContext) -> None:
        self.folder, self.batch_size, self.context = folder, batch_size, context
        self.embed = make_embedder(model, embedding, batch_size)

    def __call__(self, task: Task) -> dict[str, Any]:
        rows, rejects = pickle.loads(task["payload"])
        batches = [rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)]
        made = [row for part in self.context.map_batches(self._embed, batches) for row in part]
        shard = Shard(task["number"], task["start"], task["stop"], task["key"])
        if not task.get("trial"):
            tables.write_shard(self.folder, shard, tables.EMBEDDINGS, made, rejects)
        return {"number": shard.number, "images": len(shard)}

    def _embed(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        embeddings = self.embed([row["image"] for row in rows], [row["sism"] for row in rows])
        self.context.report_progress(len(rows))
        return [
            {"group": row["group"], "name": row["name"], "embedding": embedding, "hash": compute_hash(row["image"])}
            for row, embedding in zip(rows, embeddings, strict=True)
        ]


def compute_hash(image: Pixels) -> int:
    """The 64-bit difference hash of an image [s, s, 3]: whether each cell is brighter than its right neighbor."""
    gray = image.astype(np.float32).mean(axis=2)
    small = images.resize(images.quantize(gray / 255), (HASH_SIDE, HASH_SIDE + 1)).astype(int)
    return int.from_bytes(np.packbits(small[:, :-1] > small[:, 1:]).tobytes(), "big", signed=True)
