"""Stage predict: model + samples -> co-saliency maps. Groups of any size, each image by the cues of its whole group.

A group that stands whole in one shard is predicted there; of one that is spread over several the SIVs are gathered
first, and each piece is predicted as members of the whole group (section 3.3).
"""

import hashlib
import pickle
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import ray
from pydantic import Field
from torch import Tensor

from icnet import images
from icnet.cues import Cues
from pipeline import cluster, command, params, stream, summary, tables
from pipeline.groups import Gathered, Network, Read, evenly, gather, leaning, pieces, units
from pipeline.tables import Shard

VERSION = 2
"""Part of every shard's key: raise it when the same inputs shall give other bytes."""

SILENT = 0.02
"""A group whose SISMs are darker than this on average carries next to no saliency (section 4.4)."""


class Params(params.Section):
    """How co-saliency maps are predicted. `shard`: images a shard; `batch`: images through the network at once; `cut`:
    Table 4's n_test, groups cut into batches of that many images that know nothing of each other (null: whole)."""

    shard: int = Field(256, ge=1)
    batch: int = Field(8, ge=1)
    cut: int | None = Field(None, ge=1)
    precision: Literal["float32", "bfloat16"] = "float32"
    actors: int | None = Field(None, ge=1)
    gpus: float | None = Field(None, ge=0)


class Predict(Network):
    """Ray Data actor: writes the co-saliency maps of one shard after another."""

    def __init__(self, folder: str, gathered: Gathered, **network: Any) -> None:
        super().__init__(**network)
        self.folder, self.gathered = folder, gathered

    def __call__(self, task: dict[str, Any]) -> dict[str, Any]:
        rows = []
        for pack in self.packs(pickle.loads(task["payload"])):
            whole = self._whole(task["key"], len(pack.pictures))
            sizes = [len(members) for members in pack.groups]
            found = self.model.predict_groups(pack.pictures, pack.sisms, sizes, whole and [whole[0]])
            for members, one in zip(pack.groups, found, strict=True):
                weights = whole[1] if whole else leaning(one.weights[evenly(len(members))])
                rows += _rows(members, one.maps.float(), weights.tolist())
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


def _rows(members: list[dict[str, Any]], maps: Tensor, weights: list[float]) -> list[dict[str, Any]]:
    return [_row(*each) for each in zip(members, maps[:, 0].cpu().numpy(), weights, strict=True)]


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
            read = Read(str(samples.resolve()), knobs.cut)
            gathered = gather(pieces(samples, shards, knobs.cut), missing, work, read, network, pool)
            arguments = {"folder": tables.where(maps, storage), "gathered": gathered, **network}
            seconds = stream.run(missing, read.__call__, Predict, arguments, pool, "co-saliency maps")
    counts = tables.finish(maps, shards, tables.MAPS, storage, stage="predict", model=weights, cut=knobs.cut)
    shutil.rmtree(work, ignore_errors=True)
    made = sum(map(len, missing))
    summary.tell(
        "predict",
        f"{counts.rows} co-saliency maps at their images' original sizes in {maps}",
        f"{made} made now in {seconds:.1f} s ({made / max(seconds, 1e-9):.1f} images/s), {counts.rows - made} kept",
        *(f"group {group!r}: its SISMs show next to nothing, do not rely on its maps" for group in silent(maps)),
    )


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
