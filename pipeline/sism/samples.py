"""The samples table of a collection, computed by any executor."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from icnet import sod
from pipeline import tables
from pipeline.runtime.executor import Executor
from pipeline.sism.config import SismConfig
from pipeline.sism.worker import DetectSaliency, ReadImages
from pipeline.tables import Shard

OUTPUT_VERSION = 2
"""Part of the key of every shard (pipeline.tables.keys)."""


@dataclass(frozen=True)
class SamplesMade:
    """Images of the index, those that are samples now, and those computed now with the seconds that took."""

    images: int
    rows: int
    rejects: int
    computed: int
    seconds: float


def plan_samples(
    index: pa.Table, config: SismConfig, size: int, identity: str, one_group_per_shard: bool = False
) -> list[Shard]:
    """Shards of at most `shard_size` images and about `shard_megapixels` decoded pixels, the same on any cluster."""
    pixels = np.multiply(index["height"].to_numpy(), index["width"].to_numpy(), dtype=np.float64)
    weights = np.maximum(1 / config.shard_size, pixels / (config.shard_megapixels * 1e6))
    made_by = tables.make_key("sism", OUTPUT_VERSION, identity, {"size": size, "batch_size": config.batch_size})
    return tables.plan_shards(index, 1.0, made_by, weights.tolist(), one_group_per_shard)


@dataclass(frozen=True)
class SamplesJob:
    """Tables and parameters of a run. `size`: side of the samples in px; `storage`: where the shards are stored; with
    `one_group_per_shard` a shard holds no images of several groups."""

    index: Path
    samples: Path
    config: SismConfig
    size: int
    storage: str | None = None
    one_group_per_shard: bool = False

    def run(self, executor: Executor) -> SamplesMade:
        """Make the samples of the index, or those that are missing.

        Raises TableError if the index is unfinished, and SodError if the method cannot be made.
        """
        spec = sod.resolve_spec(self.config.method)
        index = tables.read_table(self.index)
        identity = sod.make_method(spec).identity
        shards = plan_samples(index, self.config, self.size, identity, self.one_group_per_shard)
        seconds = 0.0
        with tables.TableWriter(self.samples, shards, tables.SAMPLES, self.storage) as writer:
            if writer.missing:
                with executor.connect():
                    seconds = self._compute(index, spec, writer, executor)
            counts = writer.finish(stage="sism", method=self.config.method, size=self.size)
        computed = sum(map(len, writer.missing))
        return SamplesMade(len(index), counts.rows, counts.rejects, computed, seconds)

    def _compute(self, index: pa.Table, spec: str, writer: tables.TableWriter, executor: Executor) -> float:
        root = Path(tables.load_manifest(self.index)["root"]).resolve()
        read = ReadImages(str(root), executor.share(index), self.size, executor.context)
        arguments = {
            "spec": spec,
            "folder": writer.address,
            "size": self.size,
            "batch_size": self.config.batch_size,
            "context": executor.context,
        }
        pool = executor.plan_actors(self.config.num_actors, self.config.gpus_per_actor, sod.uses_gpu(spec))
        label = f"SISMs by {self.config.method}"
        return executor.process_shards(writer.missing, read.__call__, DetectSaliency, arguments, pool, label)
