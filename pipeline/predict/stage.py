"""Stage predict: model + samples -> co-saliency maps. Groups of any size, each image by the cues of its whole group.

A group that stands whole in one shard is predicted there; of one that is spread over several the SIVs are gathered
first, and each piece is predicted as members of the whole group (section 3.3).
"""

import hashlib
import shutil
from pathlib import Path

from pipeline import tables
from pipeline.predict.actors import MapsActor
from pipeline.predict.config import PredictConfig
from pipeline.predict.inputs import ReadSamples
from pipeline.predict.large_groups import gather_cues
from pipeline.predict.plan import find_large_groups, plan_maps
from pipeline.runtime import cluster, params, report, stream

MIN_SALIENCY = 0.02
"""A group whose SISMs are darker than this on average carries next to no saliency (section 4.4)."""


def predict_maps(
    samples: Path, model: Path, maps: Path, work: Path, config: PredictConfig, storage: str | None = None
) -> None:
    """Predict the co-saliency maps of a samples table, or what is missing of them; `storage`: where they lie.

    Raises TableError where the samples are unfinished and CheckpointError where the model is none.
    """
    weights = hashlib.sha256(model.read_bytes()).hexdigest()
    shards = plan_maps(samples, config, weights)
    missing = tables.prepare_table(maps, shards, storage)
    seconds = 0.0
    if missing:
        with cluster.connect():
            pool = stream.plan_actors(config.num_actors, config.gpus_per_actor, wants_gpu=True)
            network = {"model": str(model.resolve()), "batch": config.batch_size, "precision": config.precision}
            read = ReadSamples(str(samples.resolve()), config.subgroup_size)
            gathered = gather_cues(
                find_large_groups(samples, shards, config.subgroup_size), missing, work, read, network, pool
            )
            arguments = {"folder": tables.resolve_address(maps, storage), "gathered": gathered, **network}
            seconds = stream.process_shards(missing, read.__call__, MapsActor, arguments, pool, "co-saliency maps")
    counts = tables.finish_table(
        maps, shards, tables.MAPS, storage, stage="predict", model=weights, cut=config.subgroup_size
    )
    shutil.rmtree(work, ignore_errors=True)
    made = sum(map(len, missing))
    report.print_summary(
        "predict",
        f"{counts.rows} co-saliency maps at their images' original sizes in {maps}",
        f"{made} made now in {seconds:.1f} s ({made / max(seconds, 1e-9):.1f} images/s), {counts.rows - made} kept",
        *(
            f"group {group!r}: its SISMs show next to nothing, do not rely on its maps"
            for group in find_empty_groups(maps)
        ),
    )


def find_empty_groups(maps: Path) -> list[str]:
    """Groups whose SISMs carry next to no saliency: the case in which the network fails (section 4.4)."""
    rows = tables.read_table(maps, ["group", "saliency"])
    means = rows.group_by("group").aggregate([("saliency", "mean")]).to_pylist()
    return sorted(row["group"] for row in means if row["saliency_mean"] < MIN_SALIENCY)


def main(samples: Path, model: Path, maps: Path, work: Path) -> None:
    """Write the MAPS table of SAMPLES by MODEL; WORK keeps the SIVs of large groups until the maps are there."""
    predict_maps(
        samples,
        model,
        maps,
        work,
        params.load_section("predict", PredictConfig),
        params.load_section("storage", str | None),
    )
