"""Stage sism: index -> samples, on a Ray cluster. Every image is decoded once, and a SOD method computes its SISM."""

from pathlib import Path

from pipeline import tables
from pipeline.runtime import params, report
from pipeline.runtime.stream import RayExecutor
from pipeline.sism.config import SampleSize, SismConfig
from pipeline.sism.samples import SamplesJob, SamplesMade
from pipeline.tables import TableError


def make_samples(index: Path, samples: Path, config: SismConfig, size: int, storage: str | None = None) -> None:
    """Make the samples table of a collection, or what is missing of it, and print a summary.

    size: side of the samples, px. storage: URI of the shards, None for the folder `samples`.

    Raises TableError if the index is not finished, if too many images are rejected, or if `strict` is set and one is.
    Raises SodError if the method cannot be made, StreamError if a file cannot be read or the method fails.
    """
    made = SamplesJob(index, samples, config, size, storage).run(RayExecutor())
    _print_summary(made, index, samples, config, size)
    _check_rejects(made, samples / tables.REJECTS_FILE, config)


def _print_summary(made: SamplesMade, index: Path, samples: Path, config: SismConfig, size: int) -> None:
    rate = made.computed / max(made.seconds, 1e-9)
    groups = set(tables.read_table(index, ["group"])["group"].to_pylist())
    report.print_summary(
        "sism",
        f"{made.rows} of {made.images} images have a SISM by {config.method} at {size} x {size} px",
        f"{made.computed} made now in {made.seconds:.1f} s ({rate:.1f} images/s), {made.images - made.computed} kept",
        rejects=tables.read_rejects(samples).to_pylist(),
        rejects_file=samples / tables.REJECTS_FILE,
        lost_groups=sorted(groups - set(tables.read_table(samples, ["group"])["group"].to_pylist())),
    )


def _check_rejects(made: SamplesMade, file: Path, config: SismConfig) -> None:
    if config.strict and made.rejects:
        raise TableError(f"{made.rejects} images were rejected and sism.strict is set: see {file}")
    if made.images and not made.rows:
        raise TableError(f"all {made.images} images were rejected: see {file}")
    if made.rejects > config.max_rejects * made.images:
        share = f"{made.rejects} of {made.images} images were rejected"
        raise TableError(f"{share}, more than sism.max_rejects ({config.max_rejects:g}) allows: see {file}")


def main(index: Path, samples: Path) -> None:
    """Write the samples of the collection that INDEX lists into SAMPLES."""
    make_samples(
        index,
        samples,
        params.load_section("sism", SismConfig),
        params.load_section("model", SampleSize).size,
        params.load_section("storage", str | None),
    )
