"""Workers of stage sism: CPU tasks that read images, actors that compute SISMs.

An image becomes a row, or a reject if its content cannot be used: that depends on the file alone, so it may be stored.
An image whose process dies each time (no memory, a crash in a library) is a reject too. Every other failure (a file
that is away, an error in the method) ends the stage, and nothing is stored.
"""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import torch

from icnet import images, sod
from icnet.images import Pixels
from icnet.memory import keep_freed_blocks
from icnet.sod import DetectionError, SaliencyMap
from pipeline import tables
from pipeline.runtime import devices
from pipeline.runtime.executor import SharedValue, Task, WorkerContext
from pipeline.runtime.guards import WorkerDiedError
from pipeline.tables import Shard

Reject = dict[str, Any]


class MethodError(RuntimeError):
    """The SOD method failed for a reason that is not in the image."""


class RejectedImageError(Exception):
    """The content of a file, `path` below the root, cannot be used."""

    def __init__(self, path: str, cause: Exception) -> None:
        super().__init__(str(cause))
        self.path, self.cause = path, cause


@dataclass(frozen=True)
class DecodedImage:
    """An image at its own size, and its row of SAMPLES without the SISM."""

    path: str
    pixels: Pixels
    sample: dict[str, Any]

    @property
    def key(self) -> tuple[str, str]:
        """(group, name)."""
        return self.sample["group"], self.sample["name"]


class ReadImages:
    """CPU task: read and decode the files of one shard.

    Raises OriginalError if a file cannot be read, or changed after it was indexed.
    """

    def __init__(self, root: str, index: SharedValue[pa.Table], size: int, context: WorkerContext) -> None:
        self.root, self.index, self.size, self.context = Path(root), index, size, context

    def __call__(self, task: Task) -> Task:
        """Return the task with its images and rejects, pickled, as `payload`."""
        rows = self.index.get().slice(task["start"], task["stop"] - task["start"]).to_pylist()
        skip = task.get("skip", {})
        entries = self.context.map_batches(self._read, [row for place, row in enumerate(rows) if place not in skip])
        entries += [make_reject(rows[place], rows[place]["image"], WorkerDiedError(skip[place])) for place in skip]
        return {**task, "payload": pickle.dumps(entries, protocol=5)}

    def _read(self, row: dict[str, Any]) -> "DecodedImage | Reject":
        try:
            pixels = self._decode(row, "image", images.decode)
            mask = None if row["mask"] is None else self._decode(row, "mask", images.decode_mask)
        except RejectedImageError as error:
            return make_reject(row, error.path, error.cause)
        sample = {
            "group": row["group"],
            "name": row["name"],
            "image": self._encode(pixels),
            "mask": None if mask is None else self._encode(mask),
            "digest": row["image_digest"],
            "height": pixels.shape[0],
            "width": pixels.shape[1],
        }
        return DecodedImage(row["image"], pixels, sample)

    def _decode(self, row: dict[str, Any], kind: str, decode: Callable[[bytes], Pixels]) -> Pixels:
        content = tables.read_original(self.root, row[kind], row[f"{kind}_digest"])
        try:
            return decode(content)
        except images.ImageError as error:
            raise RejectedImageError(row[kind], error) from error

    def _encode(self, pixels: Pixels) -> bytes:
        return images.encode(images.resize(pixels, (self.size, self.size)))


@lru_cache(maxsize=1)
def load_method(spec: str) -> sod.Method:
    """Make the SOD method of a specification on this process's device, once."""
    torch.set_num_threads(1)
    keep_freed_blocks()
    return sod.make_method(spec, devices.get_device())


class DetectSaliency:
    """Actor: computes and writes the samples of one shard after another."""

    def __init__(self, spec: str, address: str, size: int, batch_size: int, context: WorkerContext) -> None:
        self.method = load_method(spec)
        self.spec, self.address, self.size, self.batch_size, self.context = spec, address, size, batch_size, context

    def __call__(self, task: Task) -> Task:
        """Write one shard; returns its number and images. Raises MethodError."""
        entries = pickle.loads(task["payload"])
        decoded = [entry for entry in entries if isinstance(entry, DecodedImage)]
        rejects = [entry for entry in entries if not isinstance(entry, DecodedImage)]
        self.context.report_progress(len(rejects))
        batches = [decoded[start : start + self.batch_size] for start in range(0, len(decoded), self.batch_size)]
        rows: list[dict[str, Any]] = []
        for made in self.context.map_batches(self._make_rows, batches):
            rows += made.rows
            rejects += made.rejects
        shard = Shard(task["number"], task["start"], task["stop"], task["key"])
        if not task.get("trial"):
            tables.write_shard(self.address, shard, tables.SAMPLES, rows, rejects)
        return {"number": shard.number, "images": len(shard)}

    def _make_rows(self, batch: Sequence[DecodedImage]) -> "Made":
        made = Made([], [])
        for image, result in zip(batch, self._detect(batch), strict=True):
            if isinstance(result, DetectionError):
                made.rejects.append(make_reject(image.sample, image.path, result))
            else:
                small = images.resize(images.quantize(result), (self.size, self.size))
                made.rows.append({**image.sample, "sism": images.encode(small)})
        self.context.report_progress(len(batch))
        return made

    def _detect(self, batch: Sequence[DecodedImage]) -> Sequence[SaliencyMap | DetectionError]:
        """Return each image's SISM or the reason why it has none. A batch that fails is repeated image by image."""
        try:
            return self.method.batch([image.pixels for image in batch], [image.key for image in batch])
        except Exception:
            pass  # outside the handler, which would keep the tensors of the batch on the GPU
        return [self._detect_one(image) for image in batch]

    def _detect_one(self, image: DecodedImage) -> SaliencyMap | DetectionError:
        try:
            return tables.read_with_retries(lambda: self.method.batch([image.pixels], [image.key])[0])
        except DetectionError as error:
            return error
        except torch.OutOfMemoryError:
            height, width = image.pixels.shape[:2]
            return DetectionError(
                f"{width} x {height} px need more memory than the GPU has: make the photograph smaller"
            )
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise MethodError(f"{self.spec} failed on {'/'.join(image.key)}: {reason}") from error


class Made(NamedTuple):
    """Rows of SAMPLES, and rows of REJECTS of the images without a SISM."""

    rows: list[dict[str, Any]]
    rejects: list[Reject]


def make_reject(row: dict[str, Any], path: str, error: Exception) -> Reject:
    """Return the rejects row of an image that this stage cannot use."""
    return {
        "path": path,
        "group": row["group"],
        "name": row["name"],
        "stage": "sism",
        "reason": str(error) or type(error).__name__,
        "error": type(error).__name__,
    }
