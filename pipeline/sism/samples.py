"""The samples table of a collection, computed by any executor."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from icnet import sod
from pipeline import tables
from pipeline.runtime.executor import Executor, Work
from pipeline.sism.config import SismConfig
from pipeline.sism.known import KnownSamples
from pipeline.sism.worker import DetectSaliency, ReadImages
from pipeline.tables import Shard

OUTPUT_VERSION = 3
"""Part of the key of every shard: raise it whenever the same images may give other bytes (pipeline.tables.keys)."""

PROCESS_BYTES = 500_000_000
"""Memory of an actor before its first image: Python, PyTorch and Ray."""

COPIES = 3
"""How often the decoded images of a shard are in the memory of its actor at the peak."""


@dataclass(frozen=True)
class SamplesMade:
    """Images of the index, how many of them are samples and rejects, and how many were computed now in how long."""

    images: int
    rows: int
    rejects: int
    computed: int
    seconds: float


def plan_samples(
    index: pa.Table, config: SismConfig, size: int, identity: str, one_group_per_shard: bool = False
) -> list[Shard]:
    """Plan shards of at most `shard_size` images and about `shard_megapixels`, the same on any cluster.

    size: side of the samples, px. identity: that of the SOD method.
    """
    weights = np.maximum(1 / config.shard_size, _count_pixels(index) / (config.shard_megapixels * 1e6))
    made_by = tables.make_key("sism", OUTPUT_VERSION, identity, {"size": size, "batch_size": config.batch_size})
    return tables.plan_shards(index, 1.0, made_by, weights.tolist(), one_group_per_shard)


def estimate_memory(index: pa.Table, shards: list[Shard], spec: str) -> int:
    """Estimate the bytes that an actor needs at its peak."""
    pixels = _count_pixels(index)
    largest_shard = max((pixels[shard.start : shard.stop].sum() for shard in shards), default=0)
    largest_image = pixels.max(initial=0)
    return PROCESS_BYTES + COPIES * 3 * int(largest_shard) + sod.estimate_memory(spec, int(largest_image))


def _count_pixels(index: pa.Table) -> np.ndarray:
    height, width = (np.asarray(index[name].to_numpy(), np.float64) for name in ("height", "width"))
    return height * width


@dataclass(frozen=True)
class SamplesJob:
    """Tables and parameters of a run. `size`: side of the samples in px; `storage`: where the shards are stored; with
    `one_group_per_shard` a shard holds no images of several groups. Shards of `known` samples are copied by this
    process, and nothing is computed for them."""

    index: Path
    samples: Path
    config: SismConfig
    size: int
    storage: str | None = None
    one_group_per_shard: bool = False
    known: KnownSamples | None = None

    def run(self, executor: Executor) -> SamplesMade:
        """Make the samples of the index; shards that are there already are kept.

        Raises TableError if the index is not finished, SodError if the method cannot be made. A file that cannot be
        read, or changed after it was indexed, and a method that fails end the job with StreamError (or OriginalError
        and MethodError, if this process computes).
        """
        spec = sod.resolve_spec(self.config.method)
        index = tables.read_table(self.index)
        identity = sod.make_method(spec).identity
        shards = plan_samples(index, self.config, self.size, identity, self.one_group_per_shard)
        seconds = 0.0
        with tables.TableWriter(self.samples, shards, tables.SAMPLES, self.storage) as writer:
            missing = [shard for shard in writer.missing if not self._copy(shard, index, writer.address)]
            if missing:
                with executor.connect():
                    seconds = self._compute(index, spec, missing, writer.address, executor)
            counts = writer.finish(stage="sism", method=self.config.method, size=self.size)
        computed = sum(map(len, missing))
        return SamplesMade(len(index), counts.rows, counts.rejects, computed, seconds)

    def _copy(self, shard: Shard, index: pa.Table, address: str) -> bool:
        return self.known is not None and self.known.write_shard(address, shard, index)

    def _compute(self, index: pa.Table, spec: str, shards: list[Shard], address: str, executor: Executor) -> float:
        root = Path(tables.load_manifest(self.index)["root"]).resolve()
        read = ReadImages(str(root), executor.share(index), self.size, executor.context)
        arguments = {
            "spec": spec,
            "address": address,
            "size": self.size,
            "batch_size": self.config.batch_size,
            "context": executor.context,
        }
        memory = estimate_memory(index, shards, spec)
        pool = executor.plan_actors(self.config.num_actors, self.config.gpus_per_actor, sod.uses_gpu(spec), memory)
        label = f"SISMs by {self.config.method}"
        return executor.process_shards(
            shards,
            Work(read.__call__, DetectSaliency, arguments),
            pool,
            label,
            lambda row: str(index["image"][row]),
        )
