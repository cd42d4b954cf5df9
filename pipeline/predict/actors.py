"""The workers of stage predict: cues, weights and co-saliency maps, shard by shard."""

import pickle
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from icnet.correlation import Cues
from icnet.inference import Predictor, average_siv_weights
from icnet.model import Prediction
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
from pipeline.predict.writing import NETWORK_SHARE, make_small_row
from pipeline.runtime import devices
from pipeline.runtime.executor import Task, WorkerContext
from pipeline.runtime.networks import load_network

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}


class NetworkActor:
    """The model on this worker's device."""

    def __init__(self, model: str, batch_size: int, precision: Precision, looks: int, context: WorkerContext) -> None:
        self.device, self.context = devices.get_device(), context
        self.predictor = Predictor(load_network(model, DTYPES[precision]), batch_size, self._map_batches, looks)
        self.batch_images = 0

    def make_batches(self, task: Task) -> Iterator[Batch]:
        """The shard's subgroups in batches."""
        for batch in make_batches(pickle.loads(task["payload"])[0], self.predictor.batch_size, self.device):
            self.batch_images = len(batch.images)
            yield batch

    def _map_batches(self, work: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """Features of all batches are computed in one call, their maps in a second one."""
        jobs = list(items)
        step = NETWORK_SHARE / 2 * self.batch_images / max(1, len(jobs))

        def run(job: Any) -> Any:
            result = work(job)
            self.context.report_progress(step)
            return result

        return self.context.map_batches(run, jobs)


class CuesActor(NetworkActor):
    """Writes the cues of the shards of large groups for one look."""

    def __init__(self, folder: str, look: int, group_keys: dict[str, str], **network: Any) -> None:
        """`group_keys`: by shard key, the key of the group's first shard."""
        super().__init__(**network)
        self.folder, self.look, self.group_keys = Path(folder), look, group_keys

    def __call__(self, task: Task) -> dict[str, Any]:
        (batch,) = self.make_batches(task)
        cues = self.predictor.intra_cues(batch.images, batch.sisms, self._load_previous_cues(task["key"]))
        save_cues(cues, name_cues_file(self.folder, task["key"], self.look))
        return {"number": task["number"], "images": task["stop"] - task["start"]}

    def _load_previous_cues(self, key: str) -> Cues | None:
        """The cues of the whole group for the look before; None for the first look."""
        if self.look == 0:
            return None
        return load_cues(name_merged_file(self.folder, self.group_keys[key], self.look - 1)).to(self.device)


class WeightsActor(NetworkActor):
    """Writes the weights of the SIVs of large groups, from a sample of each group's images."""

    def __init__(self, folder: str, **network: Any) -> None:
        super().__init__(**network)
        self.folder = Path(folder)

    def __call__(self, task: Task) -> dict[str, Any]:
        (batch,) = self.make_batches(task)
        cues = load_cues(name_merged_file(self.folder, task["key"], self.predictor.looks - 1)).to(self.device)
        prediction = self.predictor.predict(batch.images, batch.sisms, cues)
        save_weights(average_siv_weights(prediction.weights), name_weights_file(self.folder, task["key"]))
        return {"number": task["number"], "images": task["stop"] - task["start"]}


class MapsActor(NetworkActor):
    """Makes the rows of shards of co-saliency maps; `WriteMaps` gives them their size and writes them."""

    def __init__(self, parts: dict[str, GroupPart], **network: Any) -> None:
        """`parts`: by shard key, the shards of large groups."""
        super().__init__(**network)
        self.parts = parts

    def __call__(self, task: Task) -> Task:
        part, rows = self.parts.get(task["key"]), []
        for batch in self.make_batches(task):
            rows += self._predict_subgroups(batch) if part is None else self._predict_part(batch, part)
        return {**task, "payload": pickle.dumps((rows, pickle.loads(task["payload"])[1]), protocol=5)}

    def _predict_subgroups(self, batch: Batch) -> list[Row]:
        predictions = self.predictor.predict_groups(batch.images, batch.sisms, batch.sizes)
        made: list[Row] = []
        for rows, prediction in zip(batch.subgroups, predictions, strict=True):
            weights = average_siv_weights(prediction.weights[space_evenly(len(rows))])
            made += _make_rows(rows, prediction, weights)
        return made

    def _predict_part(self, batch: Batch, part: GroupPart) -> list[Row]:
        (rows,) = batch.subgroups
        prediction = self.predictor.predict(batch.images, batch.sisms, load_cues(part.cues).to(self.device))
        weights = load_weights(part.weights)[[part.start + row["place"] for row in rows]]
        return _make_rows(rows, prediction, weights)


def _make_rows(rows: list[Row], prediction: Prediction, weights: Tensor) -> list[Row]:
    maps = prediction.maps.float()[:, 0].cpu().numpy()
    return [make_small_row(*parts) for parts in zip(rows, maps, weights.tolist(), strict=True)]
