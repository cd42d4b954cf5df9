"""Ray Data actors of stage predict: SIVs, their weights, and co-saliency maps."""

import pickle
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from torch import Tensor

from icnet import checkpoint, images
from icnet.correlation import Cues
from icnet.memory import keep_freed_blocks
from pipeline import tables
from pipeline.predict.cues_files import name_cues_file, name_weights_file, save_cues, save_tensors
from pipeline.predict.inputs import GroupBatch
from pipeline.predict.plan import space_evenly
from pipeline.runtime import cluster
from pipeline.tables import Shard

GatheredCues = dict[str, tuple[ray.ObjectRef, int]]
"""By the key of a piece its whole unit's cues and their weights [m], and where in them the piece's images begin."""


class NetworkActor:
    """The model on this worker's device, and the samples of a shard as its input."""

    def __init__(self, model: str, batch: int, precision: str) -> None:
        keep_freed_blocks()
        self.device = cluster.get_device()
        if self.device.type == "cpu":
            torch.set_num_threads(1)
        self.model = checkpoint.load(model, self.device).for_inference(getattr(torch, precision))
        self.model.chunk = batch

    def packs(self, rows: list[dict[str, Any]]) -> Iterator[GroupBatch]:
        """The shard's groups in packs of at most `batch` images; a larger group is a pack of its own."""
        groups = [list(members) for _, members in groupby(rows, key=itemgetter("unit"))]
        pack: list[list[dict[str, Any]]] = []
        for members in groups:
            if pack and sum(map(len, pack)) + len(members) > self.model.chunk:
                yield self._pack(pack)
                pack = []
            pack.append(members)
        if pack:
            yield self._pack(pack)

    def _pack(self, groups: list[list[dict[str, Any]]]) -> GroupBatch:
        rows = [row for members in groups for row in members]
        pictures = images.normalize(np.stack([row["image"] for row in rows])).to(self.device)
        return GroupBatch(groups, pictures, images.scale_maps(np.stack([row["sism"] for row in rows])).to(self.device))


class CuesActor(NetworkActor):
    """Ray Data actor: writes the cues of one piece of a unit."""

    def __init__(self, folder: str, **network: Any) -> None:
        super().__init__(**network)
        self.folder = Path(folder)

    def __call__(self, task: dict[str, Any]) -> dict[str, Any]:
        for pack in self.packs(pickle.loads(task["payload"])):
            save_cues(
                self.model.intra_cues(pack.pictures, pack.sisms).to("cpu"), name_cues_file(self.folder, task["key"])
            )
        return {"number": task["number"], "images": task["stop"] - task["start"]}


class WeightsActor(NetworkActor):
    """Ray Data actor: writes how much a sample of a unit's images leans on each SIV of the unit."""

    def __init__(self, folder: str, cues: dict[str, ray.ObjectRef], **network: Any) -> None:
        super().__init__(**network)
        self.folder, self.cues = Path(folder), cues

    def __call__(self, task: dict[str, Any]) -> dict[str, Any]:
        (pack,) = self.packs(pickle.loads(task["payload"]))
        cues = ray.get(self.cues[task["key"]]).to(self.device)
        found = mean_siv_weights(self.model.predict(pack.pictures, pack.sisms, cues).weights)
        save_tensors({"weights": found}, name_weights_file(self.folder, task["key"]))
        return {"number": task["number"], "images": task["stop"] - task["start"]}


def mean_siv_weights(weights: Tensor) -> Tensor:
    """How much the images of a unit lean on each of its SIVs, [m] of [n, m]: 1 = as much as on an average one."""
    return weights.float().mean(dim=0) * weights.shape[1]


class MapsActor(NetworkActor):
    """Ray Data actor: writes the co-saliency maps of one shard after another."""

    def __init__(self, folder: str, gathered: GatheredCues, **network: Any) -> None:
        super().__init__(**network)
        self.folder, self.gathered = folder, gathered

    def __call__(self, task: dict[str, Any]) -> dict[str, Any]:
        rows = []
        for pack in self.packs(pickle.loads(task["payload"])):
            whole = self._whole(task["key"], len(pack.pictures))
            sizes = [len(members) for members in pack.groups]
            found = self.model.predict_groups(pack.pictures, pack.sisms, sizes, whole and [whole[0]])
            for members, one in zip(pack.groups, found, strict=True):
                weights = whole[1] if whole else mean_siv_weights(one.weights[space_evenly(len(members))])
                rows += _make_rows(members, one.maps.float(), weights.tolist())
        shard = Shard(task["number"], task["start"], task["stop"], task["key"])
        tables.write_shard(self.folder, shard, tables.MAPS, rows, [])
        return {"number": shard.number, "images": len(rows)}

    def _whole(self, piece: str, size: int) -> tuple[Cues, Tensor] | None:
        """The cues of the unit that this shard of `size` images is a piece of, and these images' weights in it.

        None for units that are whole: a shard holds either whole units or a piece of one.
        """
        if piece not in self.gathered:
            return None
        found, first = self.gathered[piece]
        cues, weights = ray.get(found)
        return cues.to(self.device), weights[first : first + size]


def _make_rows(members: list[dict[str, Any]], maps: Tensor, weights: list[float]) -> list[dict[str, Any]]:
    return [_make_row(*each) for each in zip(members, maps[:, 0].cpu().numpy(), weights, strict=True)]


def _make_row(member: dict[str, Any], map_: np.ndarray, weight: float) -> dict[str, Any]:
    """The MAPS row of one sample: its map [s, s] at the image's original size, and its scores."""
    salient, seen = map_ > 0.5, member["sism"] > 127
    union = np.count_nonzero(salient | seen)
    return {
        "group": member["group"],
        "name": member["name"],
        "map": images.encode(images.resize(images.quantize(map_), (member["height"], member["width"]))),
        "weight": weight,
        "area": float(salient.mean()),
        "agreement": np.count_nonzero(salient & seen) / union if union else 1.0,
        "saliency": float(member["sism"].mean() / 255),
    }
