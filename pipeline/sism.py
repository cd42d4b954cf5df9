"""Stage sism: index -> samples. Every image is decoded once, beside the map that a SOD method gives it."""

import hashlib
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import torch
from pydantic import Field

from icnet import images, sod
from icnet.memory import keep_freed_blocks
from pipeline import cluster, command, params, stream, summary, tables
from pipeline.tables import Shard

VERSION = 1
"""Part of every shard's key: raise it when the same inputs shall give other bytes."""


class Params(params.Section):
    """How SISMs are made."""

    method: str = "gc"
    batch: int = Field(16, ge=1)
    shard: int = Field(64, ge=1)
    megapixels: float = Field(128, gt=0)
    actors: int | None = Field(None, ge=1)
    gpus: float | None = Field(None, ge=0)
    strict: bool = False


class Read:
    """CPU task: the files of one shard, decoded; a bad one becomes a reject in its place."""

    def __init__(self, root: str, index: ray.ObjectRef, size: int) -> None:
        self.root, self.index, self.size = Path(root), index, size

    def __call__(self, task: dict[str, Any]) -> dict[str, Any]:
        rows = ray.get(self.index).slice(task["start"], task["stop"] - task["start"]).to_pylist()
        return {**task, "payload": pickle.dumps([self._read(row) for row in rows], protocol=5)}

    def _read(self, row: dict[str, Any]) -> dict[str, Any]:
        file = self.root / row["image"]
        try:
            data = file.read_bytes()
            image = images.decode(data)
            sample = {
                "group": row["group"],
                "name": row["name"],
                "image": images.encode(images.resize(image, (self.size, self.size))),
                "digest": hashlib.sha256(data).hexdigest(),
                "height": image.shape[0],
                "width": image.shape[1],
                "mask": None,
            }
            if row["mask"] is not None:
                file = self.root / row["mask"]
                mask = images.decode_mask(file.read_bytes())
                sample["mask"] = images.encode(images.resize(mask, (self.size, self.size)))
            return {"sample": sample, "image": image}
        except (OSError, images.BadImage) as error:
            return {"reject": reject(row, file.relative_to(self.root).as_posix(), error)}


class Detect:
    """Ray Data actor: loads the SOD method once, and writes the samples of one shard after another."""

    def __init__(self, spec: str, folder: str, size: int, batch: int) -> None:
        torch.set_num_threads(1)
        keep_freed_blocks()
        self.method = sod.make(spec, cluster.device())
        self.folder, self.size, self.batch = folder, size, batch

    def __call__(self, task: dict[str, Any]) -> dict[str, Any]:
        found = pickle.loads(task["payload"])
        rejects = [entry["reject"] for entry in found if "reject" in entry]
        decoded = [entry for entry in found if "sample" in entry]
        rows = []
        for start in range(0, len(decoded), self.batch):
            for entry, sism in zip(chunk := decoded[start : start + self.batch], self._detect(chunk), strict=True):
                if isinstance(sism, Exception):
                    rejects.append(reject(entry["sample"], _key(entry), sism))
                    continue
                small = images.resize(images.quantise(sism), (self.size, self.size))
                rows.append({**entry["sample"], "sism": images.encode(small)})
        shard = Shard(task["number"], task["start"], task["stop"], task["key"])
        tables.write_shard(self.folder, shard, tables.SAMPLES, rows, rejects)
        return {"number": shard.number, "images": len(shard)}

    def _detect(self, entries: list[dict[str, Any]]) -> Sequence[np.ndarray | Exception]:
        pictures = [entry["image"] for entry in entries]
        keys = [(entry["sample"]["group"], entry["sample"]["name"]) for entry in entries]
        try:
            return self.method.batch(pictures, keys)
        except Exception:
            return [self._detect_one(picture, key) for picture, key in zip(pictures, keys, strict=True)]

    def _detect_one(self, picture: np.ndarray, key: tuple[str, str]) -> np.ndarray | Exception:
        try:
            return self.method.batch([picture], [key])[0]
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:
            return error


def _key(entry: dict[str, Any]) -> str:
    return f"{entry['sample']['group']}/{entry['sample']['name']}"


def reject(row: dict[str, Any], path: str, error: Exception) -> dict[str, Any]:
    """The rejects row of one image that this stage could not use."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return {
        "path": path,
        "group": row["group"],
        "name": row["name"],
        "stage": "sism",
        "reason": reason or type(error).__name__,
        "error": type(error).__name__,
    }


def plan(index: pa.Table, knobs: Params, size: int, identity: str) -> list[Shard]:
    """Shards of at most `shard` images and about `megapixels` decoded pixels, the same on any cluster."""
    pixels = np.multiply(index["height"].to_numpy(), index["width"].to_numpy(), dtype=np.float64)
    weights = np.maximum(1 / knobs.shard, pixels / (knobs.megapixels * 1e6))
    return tables.plan(index, 1.0, "sism", VERSION, identity, size, knobs.batch, weights=weights.tolist())


def make(index: Path, samples: Path, knobs: Params, size: int, storage: str | None = None) -> None:
    """Make the samples table of a collection, or what is still missing of it; `storage`: where its shards lie.

    Raises TableError where the index is unfinished, or where `strict` is set and an image was refused, and SodError
    where the method cannot be made.
    """
    spec = sod.absolute(knobs.method)
    table = tables.read(index)
    shards = plan(table, knobs, size, sod.make(spec).identity)
    missing = tables.begin(samples, shards, storage)
    seconds = 0.0
    if missing:
        with cluster.connect():
            root = Path(tables.receipt(index)["root"]).resolve()
            read = Read(str(root), ray.put(table), size)
            arguments = {"spec": spec, "folder": tables.where(samples, storage), "size": size, "batch": knobs.batch}
            pool = stream.actors(knobs.actors, knobs.gpus, sod.uses_gpu(spec))
            seconds = stream.run(missing, read.__call__, Detect, arguments, pool, f"SISMs by {knobs.method}")
    facts = {"stage": "sism", "method": knobs.method, "size": size}
    counts = tables.finish(samples, shards, tables.SAMPLES, storage, **facts)
    made = sum(map(len, missing))
    summary.tell(
        "sism",
        f"{counts.rows} of {len(table)} images have a SISM by {knobs.method} at {size} x {size} px",
        f"{made} made now in {seconds:.1f} s ({made / max(seconds, 1e-9):.1f} images/s), {len(table) - made} kept",
        rejects=samples,
        lost=sorted(set(table["group"].to_pylist()) - set(tables.read(samples, ["group"])["group"].to_pylist())),
    )
    if knobs.strict and counts.rejects:
        raise tables.TableError(
            f"{counts.rejects} images were refused and sism.strict is set: see {samples}/rejects.parquet"
        )


def main(index: Path, samples: Path) -> None:
    """Write the SAMPLES table of the collection that INDEX lists."""
    make(
        index, samples, params.load("sism", Params), params.load("model.size", int), params.load("storage", str | None)
    )


if __name__ == "__main__":
    command.run("pipeline.sism")
