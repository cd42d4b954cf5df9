"""Stage predict: model + samples -> co-saliency maps. Groups of any size, each image by the cues of its whole group.

A group that stands whole in one shard is predicted there. One that is cut over several is predicted in two passes:
the SIVs of every piece first, gathered per group; then the maps, each piece as members of that group (section 3.3).
"""

import hashlib
import pickle
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import ray
import torch
from pydantic import Field
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from icnet import checkpoint, images
from icnet.cues import Cues
from pipeline import cluster, command, params, stream, summary, tables
from pipeline.tables import Shard

VERSION = 1
"""Part of every shard's key: raise it when the same inputs shall give other bytes."""

SILENT = 0.02
"""A group whose SISMs are darker than this on average carries next to no saliency (section 4.4)."""


Gathered = dict[str, tuple[ray.ObjectRef, int]]
"""By the key of a piece the cues of its whole group, and where in them the images of the piece begin."""


class Params(params.Section):
    """How co-saliency maps are predicted. `shard`: images a shard; `batch`: images through the network at once; `cut`:
    Table 4's n_test, groups cut into batches of that many images that know nothing of each other (null: whole)."""

    shard: int = Field(256, ge=1)
    batch: int = Field(8, ge=1)
    cut: int | None = Field(None, ge=1)
    precision: Literal["float32", "bfloat16"] = "float32"
    actors: int | None = Field(None, ge=1)
    gpus: float | None = Field(None, ge=0)


class Read:
    """CPU task: the samples of one shard as arrays."""

    def __init__(self, samples: str, cut: int | None = None) -> None:
        self.samples, self.cut = Path(samples), cut

    def __call__(self, task: dict[str, Any]) -> dict[str, Any]:
        columns = ["group", "name", "image", "sism", "height", "width"]
        rows = tables.read_rows(self.samples, task["start"], task["stop"], columns).to_pylist()
        for row, unit in zip(rows, units([row["group"] for row in rows], self.cut), strict=True):
            row["image"], row["sism"] = images.decode(row["image"]), images.decode_gray(row["sism"])
            row["unit"] = unit
        return {**task, "payload": pickle.dumps(rows, protocol=5)}


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
        torch.set_grad_enabled(False)
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
    """Ray Data actor of the first pass: writes the cues of one piece of a large group."""

    def __init__(self, folder: str, **network: Any) -> None:
        super().__init__(**network)
        self.folder = Path(folder)

    def __call__(self, task: dict[str, Any]) -> dict[str, Any]:
        for pack in self.packs(pickle.loads(task["payload"])):
            cues = self.model.intra_cues(pack.pictures, pack.sisms).to("cpu")
            save_cues(cues, self.folder / f"{task['key']}.safetensors")
        return {"number": task["number"], "images": task["stop"] - task["start"]}


class Predict(Network):
    """Ray Data actor: writes the co-saliency maps of one shard after another."""

    def __init__(self, folder: str, gathered: Gathered, **network: Any) -> None:
        super().__init__(**network)
        self.folder, self.gathered = folder, gathered

    def __call__(self, task: dict[str, Any]) -> dict[str, Any]:
        rows = []
        for pack in self.packs(pickle.loads(task["payload"])):
            cues, first = self._gathered(task["key"])
            sizes = [len(members) for members in pack.groups]
            found = self.model.predict_groups(pack.pictures, pack.sisms, sizes, cues)
            for members, one in zip(pack.groups, found, strict=True):
                rows += _rows(members, one.maps.float(), one.weights.float(), first)
        shard = Shard(task["number"], task["start"], task["stop"], task["key"])
        tables.write_shard(self.folder, shard, tables.MAPS, rows, [])
        return {"number": shard.number, "images": len(rows)}

    def _gathered(self, piece: str) -> tuple[list[Cues] | None, int]:
        """The cues of the group that this shard is a piece of, and where in them its images begin.

        None for groups that are whole: a shard holds either whole groups or a piece of one.
        """
        if piece not in self.gathered:
            return None, 0
        cues, first = self.gathered[piece]
        return [ray.get(cues).to(self.device)], first


def _rows(members: list[dict[str, Any]], maps: Tensor, weights: Tensor, first: int) -> list[dict[str, Any]]:
    own = weights.mean(dim=0)[first : first + len(members)] * weights.shape[1]
    return [
        _row(member, map_, weight)
        for member, map_, weight in zip(members, maps[:, 0].cpu().numpy(), own.tolist(), strict=True)
    ]


def _row(member: dict[str, Any], map_: np.ndarray, weight: float) -> dict[str, Any]:
    """The MAPS row of one sample: its map [s, s] at the image's original size, and its scores."""
    salient, seen = map_ > 0.5, member["sism"] > 127
    union = np.count_nonzero(salient | seen)
    return {
        "group": member["group"],
        "name": member["name"],
        "map": images.encode(images.resize(images.quantise(map_), (member["height"], member["width"]))),
        "weight": weight,
        "area": float(salient.mean()),
        "agreement": np.count_nonzero(salient & seen) / union if union else 1.0,
        "saliency": float(member["sism"].mean() / 255),
    }


def save_cues(cues: Cues, file: Path) -> None:
    """Write the cues of a piece, whole or not at all."""
    temporary = file.with_suffix(".part")
    save_file({str(number): block.contiguous() for number, block in enumerate(cues.sivs)}, temporary)
    temporary.replace(file)


def load_cues(file: Path) -> Cues:
    """The cues that `save_cues` wrote."""
    with safe_open(file, framework="pt") as content:
        return Cues(tuple(content.get_tensor(str(number)) for number in range(len(content.keys()))))


def units(groups: list[str], cut: int | None) -> list[str]:
    """What each row is predicted with, by name: its whole group, or the batch of `cut` images of it. `groups` are the
    groups of rows that start where such a unit does."""
    if cut is None:
        return groups
    return [f"{group}/{n // cut}" for group, members in groupby(groups) for n, _ in enumerate(members)]


def plan(samples: Path, knobs: Params, model: str) -> list[Shard]:
    """Shards of at most `shard` images; a shard's key holds its groups whole, for each map depends on all of them."""
    rows = tables.read(samples, ["group", "name", "height", "width"])
    entries = tables.receipt(samples)["shards"]
    made = [entry["key"] for entry in entries for _ in range(entry["rows"])]
    sources: dict[str, set[str]] = defaultdict(set)
    for group, key in zip(rows["group"].to_pylist(), made, strict=True):
        sources[group].add(key)
    whole = {group: tables.fingerprint(sorted(keys)) for group, keys in sources.items()}
    column = pa.array([whole[group] for group in rows["group"].to_pylist()], pa.string())
    made_by = ("predict", VERSION, model, knobs.batch, knobs.precision, knobs.cut)
    rows = rows.set_column(0, "group", pa.array(units(rows["group"].to_pylist(), knobs.cut), pa.string()))
    return tables.plan(rows.append_column("whole", column), knobs.shard, *made_by)


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


def make(samples: Path, model: Path, maps: Path, work: Path, knobs: Params, storage: str | None = None) -> None:
    """Predict the co-saliency maps of a samples table, or what is missing of them; `storage`: where they lie.

    Raises TableError where the samples are unfinished and CheckpointError where the model is none.
    """
    weights = hashlib.sha256(model.read_bytes()).hexdigest()
    shards = plan(samples, knobs, weights)
    missing = tables.begin(maps, shards, storage)
    seconds = 0.0
    if missing:
        with cluster.connect():
            pool = stream.actors(knobs.actors, knobs.gpus, wants_gpu=True)
            network = {"model": str(model.resolve()), "batch": knobs.batch, "precision": knobs.precision}
            read = Read(str(samples.resolve()), knobs.cut).__call__
            gathered = _gather(pieces(samples, shards, knobs.cut), missing, work, read, network, pool)
            arguments = {"folder": tables.where(maps, storage), "gathered": gathered, **network}
            seconds = stream.run(missing, read, Predict, arguments, pool, "co-saliency maps")
    counts = tables.finish(maps, shards, tables.MAPS, storage, stage="predict", model=weights, cut=knobs.cut)
    shutil.rmtree(work, ignore_errors=True)
    made = sum(map(len, missing))
    summary.tell(
        "predict",
        f"{counts.rows} co-saliency maps at their images' original sizes in {maps}",
        f"{made} made now in {seconds:.1f} s ({made / max(seconds, 1e-9):.1f} images/s), {counts.rows - made} kept",
        *(f"group {group!r}: its SISMs show next to nothing, do not rely on its maps" for group in silent(maps)),
    )


def _gather(
    large: dict[str, list[Shard]],
    missing: list[Shard],
    work: Path,
    read: Any,
    network: dict[str, Any],
    pool: stream.Actors,
) -> Gathered:
    """The first pass over the large groups that maps are still missing of."""
    wanted = {shard.key for shard in missing}
    large = {group: found for group, found in large.items() if any(shard.key in wanted for shard in found)}
    work.mkdir(parents=True, exist_ok=True)
    todo = [s for found in large.values() for s in found if not (work / f"{s.key}.safetensors").is_file()]
    stream.run(todo, read, Gather, {"folder": str(work.resolve()), **network}, pool, "SIVs of large groups")
    gathered = {}
    for found in large.values():
        cues = ray.put(Cues.merge([load_cues(work / f"{shard.key}.safetensors") for shard in found]))
        gathered |= {shard.key: (cues, shard.start - found[0].start) for shard in found}
    return gathered


def silent(maps: Path) -> list[str]:
    """Groups whose SISMs carry next to no saliency: the case in which the network fails (section 4.4)."""
    rows = tables.read(maps, ["group", "saliency"])
    means = rows.group_by("group").aggregate([("saliency", "mean")]).to_pylist()
    return sorted(row["group"] for row in means if row["saliency_mean"] < SILENT)


def main(samples: Path, model: Path, maps: Path, work: Path) -> None:
    """Write the MAPS table of SAMPLES by MODEL; WORK keeps the SIVs of large groups until the maps are there."""
    make(samples, model, maps, work, params.load("predict", Params), params.load("storage", str | None))


if __name__ == "__main__":
    command.run("pipeline.predict")
