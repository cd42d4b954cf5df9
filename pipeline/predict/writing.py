"""The last step of stage predict: maps at the size of their originals, as PNG files in shards.

The file of a map costs 19 ms of a core at 640 x 480 px, and 226 ms at 12 megapixels: a GPU would wait for it.
"""

import pickle
from typing import Any

import numpy as np

from icnet import images
from icnet.images.refine import refine
from pipeline import tables
from pipeline.predict.inputs import Row
from pipeline.runtime.executor import Task, WorkerContext
from pipeline.tables import Shard

NETWORK_SHARE = 0.9
"""Share of the network in the time of an image, for the progress bar. The rest is the PNG file of the map."""


class WriteMaps:
    """Writes the shards of co-saliency maps to `folder`."""

    def __init__(self, folder: str, context: WorkerContext) -> None:
        self.folder, self.context = folder, context

    def __call__(self, task: Task) -> Task:
        """Write one shard; returns its number and images. Raises OriginalError where an original is needed and away."""
        small, rejects = pickle.loads(task["payload"])
        rows = self.context.map_batches(self._make_row, small)
        shard = Shard(task["number"], task["start"], task["stop"], task["key"])
        if not task.get("trial"):
            tables.write_shard(self.folder, shard, tables.MAPS, rows, rejects)
        return {"number": shard.number, "images": len(shard)}

    def _make_row(self, small: Row) -> Row:
        size = small.pop("height"), small.pop("width")
        resized, original = images.resize(small["map"], size), small.pop("original", None)
        if original is not None:
            resized = refine(resized, original.decode())
        self.context.report_progress(1 - NETWORK_SHARE)
        return {**small, "map": images.encode(resized)}


def make_small_row(sample: Row, map_: np.ndarray, weight: float) -> Row:
    """The MAPS row of a sample, but its map is uint8 [s, s], with the size and, if it is known, the original file.

    map_: co-saliency map in [0, 1], [s, s].
    """
    in_map, in_sism = map_ > 0.5, sample["sism"] > 127
    union = np.count_nonzero(in_map | in_sism)
    row: dict[str, Any] = {name: sample[name] for name in ("group", "name", "height", "width")}
    if "original" in sample:
        row["original"] = sample["original"]
    return {
        **row,
        "map": images.quantize(map_),
        "weight": weight,
        "area": float(in_map.mean()),
        "agreement": np.count_nonzero(in_map & in_sism) / union if union else 1.0,
        "saliency": float(sample["sism"].mean() / 255),
    }
