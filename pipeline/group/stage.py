"""Stage group: samples of photographs without groups -> embeddings -> groups, on a Ray cluster.

The embedding of a photograph is its SIV, so it describes the salient object, not the scene.
"""

from pathlib import Path

from pipeline import tables
from pipeline.group.clustering import find_groups
from pipeline.group.config import GroupConfig
from pipeline.group.embeddings import EmbeddingsJob, read_embeddings
from pipeline.group.result import describe_groups, list_photos
from pipeline.runtime import params, report
from pipeline.runtime.stream import RayExecutor


def group_photographs(
    index: Path, samples: Path, embeddings: Path, out: Path, config: GroupConfig, storage: str | None = None
) -> None:
    """Write the groups of the photographs to the CSV file `out`, and print a summary.

    Raises TableError if the samples are unfinished, CheckpointError if `config.model` is not a checkpoint.
    """
    made = EmbeddingsJob(samples, Path(config.model), embeddings, config, storage).run(RayExecutor())
    found = read_embeddings(embeddings)
    photos = list_photos(found, find_groups(found, config), index)
    tables.write_grouping(out, photos)
    rate = made.computed / max(made.seconds, 1e-9)
    report.print_summary(
        "group",
        *describe_groups(photos),
        f"{made.computed} embeddings made in {made.seconds:.1f} s ({rate:.1f} images/s), "
        f"{made.rows + made.rejects - made.computed} kept; groups are in {out}",
        rejects=tables.read_rejects(embeddings).to_pylist(),
        rejects_file=embeddings / tables.REJECTS_FILE,
    )


def main(index: Path, samples: Path, embeddings: Path, out: Path) -> None:
    """Find groups in the photographs of INDEX and SAMPLES; table EMBEDDINGS describes them, OUT is a CSV file."""
    config = params.load_section("group", GroupConfig)
    group_photographs(index, samples, embeddings, out, config, params.load_section("storage", str | None))
