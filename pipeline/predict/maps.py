"""Co-saliency maps of a samples table, computed by any executor."""

import hashlib
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from icnet import checkpoint
from icnet.memory import estimate_memory
from pipeline import tables
from pipeline.predict.actors import MapsActor
from pipeline.predict.config import PredictConfig
from pipeline.predict.inputs import ReadSamples
from pipeline.predict.large_groups import prepare_large_groups
from pipeline.predict.originals import find_originals
from pipeline.predict.plan import find_large_groups, plan_maps
from pipeline.predict.writing import WriteMaps
from pipeline.runtime.executor import Executor, Work
from pipeline.tables import Shard

MIN_SALIENCY = 0.02
"""SISMs with a lower mean value are nearly empty, and the network fails (section 4.4)."""


@dataclass(frozen=True)
class MapsMade:
    """Images of a maps table, and rejects; images predicted now, and the seconds that took."""

    rows: int
    rejects: int
    predicted: int
    seconds: float


@dataclass(frozen=True)
class MapsJob:
    """Tables, model and parameters of a run. `work` keeps the cues of large groups until the maps are finished;
    `storage` is where the shards are stored; with `one_group_per_shard` groups do not share a batch. `index` lists the
    original images; `config.refine` needs it."""

    samples: Path
    model: Path
    maps: Path
    work: Path
    config: PredictConfig
    storage: str | None = None
    one_group_per_shard: bool = False
    index: Path | None = None

    def run(self, executor: Executor) -> MapsMade:
        """Predict the co-saliency maps of the samples, or those that are missing.

        Raises TableError if the samples are unfinished, and CheckpointError if `model` is not a checkpoint. With
        `config.refine`, an original image that cannot be read, or has changed, ends the job with StreamError (or
        OriginalError, if this process computes).
        """
        weights = hashlib.sha256(self.model.read_bytes()).hexdigest()
        shards = plan_maps(self.samples, self.config, weights, self.one_group_per_shard)
        seconds = 0.0
        with tables.TableWriter(self.maps, shards, tables.MAPS, self.storage) as writer:
            if writer.missing:
                with executor.connect():
                    seconds = self._predict(shards, writer, executor)
            chosen = self.config.model_dump(include={"subgroup_size", "looks"})
            counts = writer.finish(stage="predict", model=weights, **chosen)
            shutil.rmtree(self.work, ignore_errors=True)
        return MapsMade(counts.rows, counts.rejects, sum(map(len, writer.missing)), seconds)

    def _predict(self, shards: list[Shard], writer: tables.TableWriter, executor: Executor) -> float:
        memory = estimate_memory(checkpoint.read_config(self.model), self.config.batch_size)
        pool = executor.plan_actors(self.config.num_actors, self.config.gpus_per_actor, wants_gpu=True, memory=memory)
        network = {
            "model": str(self.model.resolve()),
            "batch_size": self.config.batch_size,
            "precision": self.config.precision,
            "looks": self.config.looks or checkpoint.read_config(self.model).looks,
            "context": executor.context,
        }
        read = ReadSamples(str(self.samples.resolve()), self.config.subgroup_size)
        large_groups = find_large_groups(self.samples, shards, self.config.subgroup_size)
        parts = prepare_large_groups(large_groups, writer.missing, self.work, read, network, executor, pool)
        if self.config.refine:
            if self.index is None:
                raise ValueError("config.refine needs an index table")
            originals = find_originals(self.index, self.samples, executor)
            read = ReadSamples(str(self.samples.resolve()), self.config.subgroup_size, originals=originals)
        finish = WriteMaps(writer.address, executor.context)
        work = Work(read.__call__, MapsActor, {"parts": parts, **network}, finish.__call__)
        name_row = partial(tables.name_row, self.samples)
        return executor.process_shards(writer.missing, work, pool, "co-saliency maps", name_row)


def find_empty_groups(maps: Path) -> list[str]:
    """Groups whose SISMs are nearly empty, so that their maps are unreliable (section 4.4)."""
    rows = tables.read_table(maps, ["group", "saliency"])
    means = rows.group_by("group").aggregate([("saliency", "mean")]).to_pylist()
    return sorted(row["group"] for row in means if row["saliency_mean"] < MIN_SALIENCY)
