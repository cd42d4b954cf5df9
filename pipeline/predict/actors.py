"""The workers of stage predict: cues, weights and co-saliency maps, shard by shard."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from icnet import checkpoint, images
from icnet.inference import Predictor, optimize
from icnet.memory import keep_freed_blocks
from pipeline import tables
from pipeline.predict.config import Precision
from pipeline.predict.cue_files import (
    GroupPart,
    load_cues,
    load_weights,
    name_cues_file,
    name_merged_file,
    name_weights_file,
    save_cues,
    save_weights,
)
from pipeline.predict.inputs import Batch, Row, make_batches
from pipeline.predict.plan import space_evenly
from pipeline.runtime import cluster
from pipeline.tables import Shard

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}

Task = dict[str, Any]
"""One shard: `number`, `start`, `stop`, `key`, and in `payload` its pickled rows."""


class NetworkActor:
    """The model on this worker's device."""

    def __init__(self, model: str, batch_size: int, precision: Precision) -> None:
        keep_freed_blocks()
        self.device = cluster.get_device()
        if self.device.type == "cpu":
            torch.set_num_threads(1)
        network = optimize(checkpoint.load(model, self.device), DTYPES[precision])
        self.predictor = Predictor(network, batch_size)

    def make_batches(self, task: Task) -> Iterator[Batch]:
        """The shard's subgroups in batches."""
        return make_batches(pickle.loads(task["payload"]), self.predictor.batch_size, self.device)


class CuesActor(NetworkActor):
    """Writes the cues of the shards of large groups."""

    def __init__(self, folder: str, **network: Any) -> None:
        super().__init__(**network)
        self.folder = Path(folder)

    def __call__(self, task: Task) -> dict[str, Any]:
        (batch,) = self.make_batches(task)
        save_cues(self.predictor.intra_cues(batch.images, batch.sisms), name_cues_file(self.folder, task["key"]))
        return {"number": task["number"], "images": task["stop"] - task["start"]}


class WeightsActor(NetworkActor):
    """Writes the weights of the SIVs of large groups, from a sample of each group's images."""

    def __init__(self, folder: str, **network: Any) -> None:
        super().__init__(**network)
        self.folder = Path(folder)

    def __call__(self, task: Task) -> dict[str, Any]:
        (batch,) = self.make_batches(task)
        cues = load_cues(name_merged_file(self.folder, task["key"])).to(self.device)
        prediction = self.predictor.predict(batch.images, batch.sisms, cues)
        save_weights(average_siv_weights(prediction.weights), name_weights_file(self.folder, task["key"]))
        return {"number": task["number"], "images": task["stop"] - task["start"]}


class MapsActor(NetworkActor):
    """Writes the shards of co-saliency maps."""

    def __init__(self, folder: str, parts: dict[str, GroupPart], **network: Any) -> None:
        """`parts`: by shard key, the shards of large groups."""
        super().__init__(**network)
        self.folder, self.parts = folder, parts

    def __call__(self, task: Task) -> dict[str, Any]:
        part, rows = self.parts.get(task["key"]), []
        for batch in self.make_batches(task):
            rows += self._predict_subgroups(batch) if part is None else self._predict_part(batch, part)
        shard = Shard(task["number"], task["start"], task["stop"], task["key"])
        tables.write_shard(self.folder, shard, tables.MAPS, rows, [])
        return {"number": shard.number, "images": len(rows)}

    def _predict_subgroups(self, batch: Batch) -> list[Row]:
        predictions = self.predictor.predict_groups(batch.images, batch.sisms, batch.sizes)
        made: list[Row] = []
        for rows, prediction in zip(batch.subgroups, predictions, strict=True):
            weights = average_siv_weights(prediction.weights[space_evenly(len(rows))])
            made += _make_rows(rows, prediction.maps, weights)
        return made

    def _predict_part(self, batch: Batch, part: GroupPart) -> list[Row]:
        (rows,) = batch.subgroups
        prediction = self.predictor.predict(batch.images, batch.sisms, load_cues(part.cues).to(self.device))
        weights = load_weights(part.weights)[part.start : part.start + len(rows)]
        return _make_rows(rows, prediction.maps, weights)


def average_siv_weights(weights: Tensor) -> Tensor:
    """The mean weight [m] of each SIV over n images, from [n, m]; 1 is the weight of an average SIV of the group."""
    return weights.float().mean(dim=0) * weights.shape[1]


def _make_rows(rows: list[Row], maps: Tensor, weights: Tensor) -> list[Row]:
    arrays = maps.float()[:, 0].cpu().numpy()
    return [_make_row(*each) for each in zip(rows, arrays, weights.tolist(), strict=True)]


def _make_row(sample: Row, map_: np.ndarray, weight: float) -> Row:
    """The MAPS row of a sample: its map [s, s] resized to the size of the original image, and its scores."""
    in_map, in_sism = map_ > 0.5, sample["sism"] > 127
    union = np.count_nonzero(in_map | in_sism)
    return {
        "group": sample["group"],
        "name": sample["name"],
        "map": images.encode(images.resize(images.quantize(map_), (sample["height"], sample["width"]))),
        "weight": weight,
        "area": float(in_map.mean()),
        "agreement": np.count_nonzero(in_map & in_sism) / union if union else 1.0,
        "saliency": float(sample["sism"].mean() / 255),
    }
