"""The workers of stage group: what describes each photograph, shard by shard."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from icnet import images
from icnet.correlation import Cues, l2_normalize
from icnet.images import Pixels
from icnet.inference import Predictor
from pipeline import tables
from pipeline.runtime import devices, guards
from pipeline.runtime.executor import Task, WorkerContext
from pipeline.runtime.networks import load_network
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
            row["image"], row["sism"] = images.decode(row["image"]), images.decode_gray(row["sism"])
        return {**task, "payload": pickle.dumps((rows, rejects), protocol=5)}


class EmbedActor:
    """Writes the shards of the table of embeddings."""

    def __init__(self, folder: str, model: str, batch_size: int, context: WorkerContext) -> None:
        self.folder, self.context, self.device = folder, context, devices.get_device()
        self.predictor = Predictor(load_network(model, torch.float32), batch_size)

    def __call__(self, task: Task) -> dict[str, Any]:
        rows, rejects = pickle.loads(task["payload"])
        step = self.predictor.batch_size
        batches = [rows[start : start + step] for start in range(0, len(rows), step)]
        made = [row for part in self.context.map_batches(self._embed, batches) for row in part]
        shard = Shard(task["number"], task["start"], task["stop"], task["key"])
        if not task.get("trial"):
            tables.write_shard(self.folder, shard, tables.EMBEDDINGS, made, rejects)
        return {"number": shard.number, "images": len(shard)}

    @torch.inference_mode()
    def _embed(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        inputs = images.normalize(np.stack([row["image"] for row in rows])).to(self.device)
        sisms = images.scale_maps(np.stack([row["sism"] for row in rows])).to(self.device)
        embeddings = join_sivs(self.predictor.intra_cues(inputs, sisms))
        self.context.report_progress(len(rows))
        return [
            {"group": row["group"], "name": row["name"], "embedding": embedding, "hash": compute_hash(row["image"])}
            for row, embedding in zip(rows, embeddings, strict=True)
        ]


def join_sivs(cues: Cues) -> NDArray[np.float16]:
    """The SIVs of the foreground of all blocks, [n, 3 c], of length 1: equal parts of each block."""
    sivs = torch.cat([block[:, 0].float() for block in cues.sivs], dim=1)
    return l2_normalize(sivs, dim=1).half().cpu().numpy()


def compute_hash(image: Pixels) -> int:
    """The 64-bit difference hash of an image [s, s, 3]: whether each cell is brighter than its right neighbor."""
    gray = image.astype(np.float32).mean(axis=2)
    small = images.resize(images.quantize(gray / 255), (HASH_SIDE, HASH_SIDE + 1)).astype(int)
    return int.from_bytes(np.packbits(small[:, :-1] > small[:, 1:]).tobytes(), "big", signed=True)
