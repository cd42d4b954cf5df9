"""Groups on their way through the network: several small ones at once, large ones in pieces by the cues of the whole.

What is predicted together is a unit: a group, or a batch of it where groups are cut (Table 4). A unit that stands
whole in one shard is predicted there. One that is spread over several is gathered first: the SIVs of every piece, then,
for a sample of its images, how much they lean on each SIV.
"""

import pickle
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from icnet import checkpoint, images
from icnet.cues import Cues
from pipeline import cluster, stream, tables
from pipeline.tables import Shard

ASKED = 256
"""Images of a unit, evenly spaced, that are asked how much they lean on each of its SIVs; a smaller unit's are all."""

READ_AT_ONCE = 64
"""Rows of a samples table that lie together on disk."""

Gathered = dict[str, tuple[ray.ObjectRef, int]]
"""By the key of a piece its whole unit's cues and their weights [m], and where in them the piece's images begin."""


class Read:
    """CPU task: the samples of one shard as arrays; of a unit's, `sample` evenly spaced ones where there are more."""

    def __init__(self, samples: str, cut: int | None = None, sample: int | None = None) -> None:
        self.samples, self.cut, self.sample = Path(samples), cut, sample

    def __call__(self, task: dict[str, Any]) -> dict[str, Any]:
        columns = ["group", "name", "image", "sism", "height", "width"]
        rows = self._rows(task["start"], task["stop"], columns)
        for row, unit in zip(rows, units([row["group"] for row in rows], self.cut), strict=True):
            row["image"], row["sism"] = images.decode(row["image"]), images.decode_gray(row["sism"])
            row["unit"] = unit
        return {**task, "payload": pickle.dumps(rows, protocol=5)}

    def _rows(self, start: int, stop: int, columns: list[str]) -> list[dict[str, Any]]:
        if self.sample is None:
            return tables.read_rows(self.samples, start, stop, columns).to_pylist()
        rows = []
        for _, some in groupby(start + evenly(stop - start, self.sample), key=lambda place: place // READ_AT_ONCE):
            places = list(some)
            near = tables.read_rows(self.samples, int(places[0]), int(places[-1]) + 1, columns)
            rows += near.take([place - places[0] for place in places]).to_pylist()
        return rows


@dataclass(frozen=True)
class Pack:
    """Whole groups, or a piece of one, that go through the network together: their rows, images and SISMs."""

    groups: list[list[dict[str, Any]]]
    pictures: Tensor
    sisms: Tensor


class Network:
    """The model on this worker's device, and the samples of a shard as its input."""

    def __init__(self, model: str, batch: int, precision: str) -> None:
        self.device = cluster.device()
        if self.device.type == "cpu":
            torch.set_num_threads(1)
        self.model = checkpoint.load(model, self.device).for_inference(getattr(torch, precision))
        self.model.chunk = batch

    def packs(self, rows: list[dict[str, Any]]) -> Iterator[Pack]:
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

    def _pack(self, groups: list[list[dict[str, Any]]]) -> Pack:
        rows = [row for members in groups for row in members]
        pictures = images.normalise(np.stack([row["image"] for row in rows])).to(self.device)
        return Pack(groups, pictures, images.scale(np.stack([row["sism"] for row in rows])).to(self.device))


class Gather(Network):
    """Ray Data actor: writes the cues of one piece of a unit."""

    def __init__(self, folder: str, **network: Any) -> None:
        super().__init__(**network)
        self.folder = Path(folder)

    def __call__(self, task: dict[str, Any]) -> dict[str, Any]:
        for pack in self.packs(pickle.loads(task["payload"])):
            save_cues(self.model.intra_cues(pack.pictures, pack.sisms).to("cpu"), _cues_file(self.folder, task["key"]))
        return {"number": task["number"], "images": task["stop"] - task["start"]}


class Weigh(Network):
    """Ray Data actor: writes how much a sample of a unit's images leans on each SIV of the unit."""

    def __init__(self, folder: str, cues: dict[str, ray.ObjectRef], **network: Any) -> None:
        super().__init__(**network)
        self.folder, self.cues = Path(folder), cues

    def __call__(self, task: dict[str, Any]) -> dict[str, Any]:
        (pack,) = self.packs(pickle.loads(task["payload"]))
        cues = ray.get(self.cues[task["key"]]).to(self.device)
        found = leaning(self.model.predict(pack.pictures, pack.sisms, cues).weights)
        _save({"weights": found}, _weights_file(self.folder, task["key"]))
        return {"number": task["number"], "images": task["stop"] - task["start"]}


def leaning(weights: Tensor) -> Tensor:
    """How much the images of a unit lean on each of its SIVs, [m] of [n, m]: 1 = as much as on an average one."""
    return weights.float().mean(dim=0) * weights.shape[1]


def evenly(size: int, most: int = ASKED) -> np.ndarray:
    """The places of at most `most` evenly spaced ones of `size`."""
    return np.linspace(0, size - 1, min(size, most)).round().astype(int)


def units(groups: list[str], cut: int | None) -> list[str]:
    """What each row is predicted with, by name: its whole group, or the batch of `cut` images of it. `groups` are the
    groups of rows that start where such a unit does."""
    if cut is None:
        return groups
    return [f"{group}/{n // cut}" for group, members in groupby(groups) for n, _ in enumerate(members)]


def pieces(samples: Path, shards: list[Shard], cut: int | None = None) -> dict[str, list[Shard]]:
    """The shards of every unit that is spread over several; such a shard holds one unit alone."""
    groups = units(tables.read(samples, ["group"])["group"].to_pylist(), cut)
    held = [(shard, set(groups[shard.start : shard.stop])) for shard in shards]
    times = Counter(group for _, found in held for group in found)
    large: dict[str, list[Shard]] = defaultdict(list)
    for shard, found in held:
        for group in found:
            if times[group] > 1:
                large[group].append(shard)
    return dict(large)


def save_cues(cues: Cues, file: Path) -> None:
    """Write the cues of a piece, whole or not at all."""
    _save({str(number): block for number, block in enumerate(cues.sivs)}, file)


def load_cues(file: Path) -> Cues:
    """The cues that `save_cues` wrote."""
    with safe_open(file, framework="pt") as content:
        return Cues(tuple(content.get_tensor(str(number)) for number in range(len(content.keys()))))


def _save(tensors: dict[str, Tensor], file: Path) -> None:
    temporary = file.with_suffix(".part")
    save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, temporary)
    temporary.replace(file)


def _cues_file(folder: Path, key: str) -> Path:
    return folder / f"{key}.cues.safetensors"


def _weights_file(folder: Path, key: str) -> Path:
    return folder / f"{key}.weights.safetensors"


def gather(
    large: dict[str, list[Shard]],
    missing: list[Shard],
    work: Path,
    read: Read,
    network: dict[str, Any],
    pool: stream.Actors,
) -> Gathered:
    """The passes before the maps, over the large units that maps are still missing of; `work` keeps their results."""
    wanted = {shard.key for shard in missing}
    units = [found for found in large.values() if any(shard.key in wanted for shard in found)]
    work.mkdir(parents=True, exist_ok=True)
    network = {"folder": str(work.resolve()), **network}
    todo = [shard for found in units for shard in found if not _cues_file(work, shard.key).is_file()]
    stream.run(todo, read.__call__, Gather, network, pool, "SIVs of large groups")
    cues = {}
    for found in units:
        cues[found[0].key] = ray.put(Cues.merge([load_cues(_cues_file(work, shard.key)) for shard in found]))
    wholes = [Shard(found[0].number, found[0].start, found[-1].stop, found[0].key) for found in units]
    todo = [shard for shard in wholes if not _weights_file(work, shard.key).is_file()]
    sample = Read(str(read.samples), read.cut, ASKED)
    stream.run(todo, sample.__call__, Weigh, {"cues": cues, **network}, pool, "weights in large groups")
    gathered: Gathered = {}
    for found in units:
        weights = load_file(_weights_file(work, found[0].key))["weights"]
        whole = ray.put((ray.get(cues[found[0].key]), weights))
        gathered |= {shard.key: (whole, shard.start - found[0].start) for shard in found}
    return gathered
