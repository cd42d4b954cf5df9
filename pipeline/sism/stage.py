"""Stage sism: index -> samples. Every image is decoded once, beside the map that a SOD method gives it."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import ray

from icnet import sod
from pipeline import tables
from pipeline.runtime import cluster, params, report, stream
from pipeline.sism.config import SismConfig
from pipeline.sism.worker import DetectSaliency, ReadImages
from pipeline.tables import Shard

OUTPUT_VERSION = 2
"""Part of the key of every shard (pipeline.tables.keys)."""


def plan_samples(index: pa.Table, config: SismConfig, size: int, identity: str) -> list[Shard]:
    """Shards of at most `shard` images and about `megapixels` decoded pixels, the same on any cluster."""
    pixels = np.multiply(index["height"].to_numpy(), index["width"].to_numpy(), dtype=np.float64)
    weights = np.maximum(1 / config.shard_size, pixels / (config.shard_megapixels * 1e6))
    made_by = tables.make_key("sism", OUTPUT_VERSION, identity, {"size": size, "batch_size": config.batch_size})
    return tables.plan_shards(index, 1.0, made_by, weights.tolist())


def make_samples(index: Path, samples: Path, config: SismConfig, size: int, storage: str | None = None) -> None:
    """Make the samples table of a collection, or what is still missing of it; `storage`: where its shards lie.

    Raises TableError where the index is unfinished, or where `strict` is set and an image was refused, and SodError
    where the method cannot be made.
    """
    spec = sod.resolve_spec(config.method)
    table = tables.read_table(index)
    shards = plan_samples(table, config, size, sod.make_method(spec).identity)
    seconds = 0.0
    with tables.TableWriter(samples, shards, tables.SAMPLES, storage) as writer:
        if writer.missing:
            with cluster.connect():
                root = Path(tables.load_manifest(index)["root"]).resolve()
                read = ReadImages(str(root), ray.put(table), size)
                arguments = {"spec": spec, "folder": writer.address, "size": size, "batch": config.batch_size}
                pool = stream.plan_actors(config.num_actors, config.gpus_per_actor, sod.uses_gpu(spec))
                seconds = stream.process_shards(
                    writer.missing, read.__call__, DetectSaliency, arguments, pool, f"SISMs by {config.method}"
                )
        counts = writer.finish(stage="sism", method=config.method, size=size)
    made = sum(map(len, writer.missing))
    report.print_summary(
        "sism",
        f"{counts.rows} of {len(table)} images have a SISM by {config.method} at {size} x {size} px",
        f"{made} made now in {seconds:.1f} s ({made / max(seconds, 1e-9):.1f} images/s), {len(table) - made} kept",
        rejects=tables.read_rejects(samples).to_pylist(),
        rejects_file=samples / tables.REJECTS_FILE,
        lost_groups=sorted(
            set(table["group"].to_pylist()) - set(tables.read_table(samples, ["group"])["group"].to_pylist())
        ),
    )
    if config.strict and counts.rejects:
        raise tables.TableError(
            f"{counts.rejects} images were refused and sism.strict is set: see {samples}/rejects.parquet"
        )


def main(index: Path, samples: Path) -> None:
    """Write the SAMPLES table of the collection that INDEX lists."""
    make_samples(
        index,
        samples,
        params.load_section("sism", SismConfig),
        params.load_section("model.size", int),
        params.load_section("storage", str | None),
    )
