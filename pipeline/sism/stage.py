"""Stage sism: index -> samples, on a Ray cluster. Every image is decoded once, and a SOD method gives it a SISM."""

from pathlib import Path

from pipeline import tables
from pipeline.runtime import params, report
from pipeline.runtime.stream import RayExecutor
from pipeline.sism.config import SismConfig
from pipeline.sism.samples import SamplesJob


def make_samples(index: Path, samples: Path, config: SismConfig, size: int, storage: str | None = None) -> None:
    """Make the samples table of a collection, or what is missing of it, and print a summary.

    Raises TableError if the index is unfinished, or if `strict` is set and an image was rejected, and SodError if the
    method cannot be made.
    """
    made = SamplesJob(index, samples, config, size, storage).run(RayExecutor())
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
    if config.strict and made.rejects:
        raise tables.TableError(
            f"{made.rejects} images were refused and sism.strict is set: see {samples / tables.REJECTS_FILE}"
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
