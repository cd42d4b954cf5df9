"""Stage predict: model + samples -> co-saliency maps, on a Ray cluster. The index is needed to refine them.

A group that one shard holds is predicted in one pass. For a group that is spread over several shards, the SIVs of all
its images are computed first; each shard is then predicted with the SIVs of the whole group (section 3.3).
"""

from pathlib import Path

from pipeline import tables
from pipeline.predict.config import PredictConfig
from pipeline.predict.maps import MapsJob, find_empty_groups
from pipeline.runtime import params, report
from pipeline.runtime.stream import RayExecutor


def predict_maps(
    samples: Path,
    model: Path,
    maps: Path,
    work: Path,
    config: PredictConfig,
    storage: str | None = None,
    index: Path | None = None,
) -> None:
    """Predict the co-saliency maps of a samples table, or those that are missing, and print a summary.

    Raises TableError if the samples are unfinished, CheckpointError if `model` is not a checkpoint, and StreamError if
    `config.refine` is set and an original image of the `index` cannot be read.
    """
    made = MapsJob(samples, model, maps, work, config, storage, index=index).run(RayExecutor())
    kept = made.rows + made.rejects - made.predicted
    refined = ", refined," if config.refine else ""
    rate = made.predicted / max(made.seconds, 1e-9)
    report.print_summary(
        "predict",
        f"{made.rows} co-saliency maps at the sizes of the original images{refined} in {maps}",
        f"{made.predicted} predicted in {made.seconds:.1f} s ({rate:.1f} images/s), {kept} kept",
        *(f"group {group!r}: SISMs are nearly empty, maps are unreliable" for group in find_empty_groups(maps)),
        rejects=tables.read_rejects(maps).to_pylist(),
        rejects_file=maps / tables.REJECTS_FILE,
    )


def main(index: Path, samples: Path, model: Path, maps: Path, work: Path) -> None:
    """Predict the co-saliency maps of table SAMPLES with MODEL into table MAPS; WORK keeps intermediate results.

    INDEX is the index of the same collection.
    """
    config = params.load_section("predict", PredictConfig)
    predict_maps(samples, model, maps, work, config, params.load_section("storage", str | None), index)
