"""Workers of stage sism: read images on CPU tasks, detect saliency in actors."""

import pickle
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from icnet import images, sod
from icnet.memory import keep_freed_blocks
from pipeline import tables
from pipeline.runtime import devices
from pipeline.runtime.executor import SharedValue, Task, WorkerContext
from pipeline.tables import Shard


class ReadImages:
    """CPU task: the files of one shard, decoded; a bad one becomes a reject in its place."""

    def __init__(self, root: str, index: SharedValue[pa.Table], size: int, context: WorkerContext) -> None:
        self.root, self.index, self.size, self.context = Path(root), index, size, context

    def __call__(self, task: Task) -> Task:
        rows = self.index.get().slice(task["start"], task["stop"] - task["start"]).to_pylist()
        return {**task, "payload": pickle.dumps(self.context.map_batches(self._read, rows), protocol=5)}

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


@lru_cache(maxsize=1)
def load_method(spec: str) -> sod.Method:
    """The SOD method of a specification, on this process's device."""
    torch.set_num_threads(1)
    keep_freed_blocks()
    return sod.make_method(spec, devices.get_device())


class DetectSaliency:
    """Writes the samples of the shards."""

    def __init__(self, spec: str, folder: str, size: int, batch_size: int, context: WorkerContext) -> None:
        self.method = load_method(spec)
        self.folder, self.size, self.batch_size, self.context = folder, size, batch_size, context

    def __call__(self, task: Task) -> dict[str, Any]:
        entries = pickle.loads(task["payload"])
        rejects = [entry["reject"] for entry in entries if "reject" in entry]
        decoded = [entry for entry in entries if "sample" in entry]
        self.context.report_progress(len(rejects))
        batches = [decoded[start : start + self.batch_size] for start in range(0, len(decoded), self.batch_size)]
        rows = []
        for row in (row for batch in self.context.map_batches(self._make_rows, batches) for row in batch):
            (rejects if "reason" in row else rows).append(row)
        shard = Shard(task["number"], task["start"], task["stop"], task["key"])
        tables.write_shard(self.folder, shard, tables.SAMPLES, rows, rejects)
        return {"number": shard.number, "images": len(shard)}

    def _make_rows(self, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows of SAMPLES of these images, and rows of REJECTS of those that the method cannot process."""
        rows = []
        for entry, sism in zip(entries, self._detect(entries), strict=True):
            if isinstance(sism, Exception):
                rows.append(make_reject(entry["sample"], _key(entry), sism))
                continue
            small = images.resize(images.quantize(sism), (self.size, self.size))
            rows.append({**entry["sample"], "sism": images.encode(small)})
        self.context.report_progress(len(entries))
        return rows

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
