"""Workers of stage sism: read images on CPU tasks, detect saliency in actors."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from icnet import images, sod
from icnet.memory import keep_freed_blocks
from pipeline import tables
from pipeline.runtime import cluster
from pipeline.tables import Shard


class ReadImages:
    """CPU task: the files of one shard, decoded; a bad one becomes a reject in its place."""

    def __init__(self, root: str, index: ray.ObjectRef, size: int) -> None:
        self.root, self.index, self.size = Path(root), index, size

    def __call__(self, task: dict[str, Any]) -> dict[str, Any]:
        rows = ray.get(self.index).slice(task["start"], task["stop"] - task["start"]).to_pylist()
        return {**task, "payload": pickle.dumps([self._read(row) for row in rows], protocol=5)}

    def _read(self, row: dict[str, Any]) -> dict[str, Any]:
        file = self.root / row["image"]
        try:
            image = images.decode(tables.read_original(self.root, row["image"], row["image_digest"]))
            sample = {
                "group": row["group"],
                "name": row["name"],
                "image": images.encode(images.resize(image, (self.size, self.size))),
                "digest": row["image_digest"],
                "height": image.shape[0],
                "width": image.shape[1],
                "mask": None,
            }
            if row["mask"] is not None:
                file = self.root / row["mask"]
                mask = images.decode_mask(tables.read_original(self.root, row["mask"], row["mask_digest"]))
                sample["mask"] = images.encode(images.resize(mask, (self.size, self.size)))
            return {"sample": sample, "image": image}
        except images.ImageError as error:
            return {"reject": make_reject(row, file.relative_to(self.root).as_posix(), error)}


class DetectSaliency:
    """Ray Data actor: loads the SOD method once, and writes the samples of one shard after another."""

    def __init__(self, spec: str, folder: str, size: int, batch: int) -> None:
        torch.set_num_threads(1)
        keep_freed_blocks()
        self.method = sod.make_method(spec, cluster.get_device())
        self.folder, self.size, self.batch = folder, size, batch

    def __call__(self, task: dict[str, Any]) -> dict[str, Any]:
        found = pickle.loads(task["payload"])
        rejects = [entry["reject"] for entry in found if "reject" in entry]
        decoded = [entry for entry in found if "sample" in entry]
        rows = []
        for start in range(0, len(decoded), self.batch):
            for entry, sism in zip(chunk := decoded[start : start + self.batch], self._detect(chunk), strict=True):
                if isinstance(sism, Exception):
                    rejects.append(make_reject(entry["sample"], _key(entry), sism))
                    continue
                small = images.resize(images.quantize(sism), (self.size, self.size))
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


def make_reject(row: dict[str, Any], path: str, error: Exception) -> dict[str, Any]:
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
