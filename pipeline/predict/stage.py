"""Stage predict: model + samples -> co-saliency maps.

A group that one shard holds is predicted in one pass. For a group that is spread over several shards, the SIVs of all
its images are computed first; each shard is then predicted with the SIVs of the whole group (section 3.3).
"""

import hashlib
import shutil
from pathlib import Path

from pipeline import tables
from pipeline.predict.actors import MapsActor
from pipeline.predict.config import PredictConfig
from pipeline.predict.inputs import ReadSamples
from pipeline.predict.large_groups import prepare_large_groups
from pipeline.predict.plan import find_large_groups, plan_maps
from pipeline.runtime import cluster, params, report, stream

MIN_SALIENCY = 0.02
"""SISMs with a lower mean value are nearly empty, and the network fails (section 4.4)."""


def predict_maps(
    samples: Path, model: Path, maps: Path, work: Path, config: PredictConfig, storage: str | None = None
) -> None:
    """Predict the co-saliency maps of a samples table, or those that are missing.

    `work` keeps the cues of large groups until the maps are finished; `storage` is where the shards are stored.
    Raises TableError if the samples are unfinished, and CheckpointError if `model` is not a checkpoint.
    """
    weights = hashlib.sha256(model.read_bytes()).hexdigest()
    shards = plan_maps(samples, config, weights)
    seconds = 0.0
    facts = {"stage": "predict", "model": weights, "subgroup_size": config.subgroup_size}
    with tables.TableWriter(maps, shards, tables.MAPS, storage) as writer:
        if writer.missing:
            with cluster.connect():
                seconds = _predict_shards(samples, model, work, config, writer)
        counts = writer.finish(**facts)
        shutil.rmtree(work, ignore_errors=True)
    made = sum(map(len, writer.missing))
    report.print_summary(
        "predict",
        f"{counts.rows} co-saliency maps at the sizes of the original images in {maps}",
        f"{made} predicted in {seconds:.1f} s ({made / max(seconds, 1e-9):.1f} images/s), {counts.rows - made} kept",
        *(f"group {group!r}: SISMs are nearly empty, maps are unreliable" for group in find_empty_groups(maps)),
    )


def _predict_shards(samples: Path, model: Path, work: Path, config: PredictConfig, writer: tables.TableWriter) -> float:
    """Predict the missing shards of a table; returns seconds."""
    pool = stream.plan_actors(config.num_actors, config.gpus_per_actor, wants_gpu=True)
    network = {"model": str(model.resolve()), "batch_size": config.batch_size, "precision": config.precision}
    read = ReadSamples(str(samples.resolve()), config.subgroup_size)
    large_groups = find_large_groups(samples, writer.shards, config.subgroup_size)
    parts = prepare_large_groups(large_groups, writer.missing, work, read, network, pool)
    arguments = {"folder": writer.address, "parts": parts, **network}
    return stream.process_shards(writer.missing, read.__call__, MapsActor, arguments, pool, "co-saliency maps")


def find_empty_groups(maps: Path) -> list[str]:
    """Groups whose SISMs are nearly empty, so that their maps are unreliable (section 4.4)."""
    rows = tables.read_table(maps, ["group", "saliency"])
    means = rows.group_by("group").aggregate([("saliency", "mean")]).to_pylist()
    return sorted(row["group"] for row in means if row["saliency_mean"] < MIN_SALIENCY)


def main(samples: Path, model: Path, maps: Path, work: Path) -> None:
    """Predict the co-saliency maps of table SAMPLES with MODEL into table MAPS; WORK keeps intermediate results."""
    config = params.load_section("predict", PredictConfig)
    predict_maps(samples, model, maps, work, config, params.load_section("storage", str | None))
