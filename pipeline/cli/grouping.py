"""Groups of photographs that are not sorted: `cosal group`, and `cosal predict --ungrouped`."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from icnet.checkpoint import WEIGHTS_FILE, read_metadata
from pipeline import tables
from pipeline.cli.groups import ModelChoice
from pipeline.cli.models import find_model
from pipeline.cli.output import WORK_FOLDER, OutputError, OutputFolder
from pipeline.cli.photographs import Photographs, find_photographs
from pipeline.group.clustering import find_groups
from pipeline.group.config import GroupConfig
from pipeline.group.embeddings import EmbeddingsJob, read_embeddings
from pipeline.group.result import describe_groups, list_photos
from pipeline.group.scores import GroupingScores, score_grouping
from pipeline.predict.config import PredictConfig
from pipeline.runtime.executor import Executor
from pipeline.runtime.progress import Progress
from pipeline.runtime.report import format_count
from pipeline.runtime.threads import ThreadExecutor, ThreadPool
from pipeline.sism.config import SismConfig
from pipeline.sism.samples import SamplesJob
from pipeline.tables import GroupedPhoto, TableError

GROUPS_FILE, REJECTS_FILE, LINKS_FOLDER = "groups.csv", "rejects.csv", "links"

SISM_BATCH_SIZE = 4
"""Photographs that one thread takes at once: few, so that all threads have work until the end."""

MAX_IMAGES_IN_PROCESS = 2000
"""More images are processed on Ray."""


@dataclass(frozen=True)
class GroupOptions:
    """How `cosal group` finds groups. `links`: whether to write a tree of links; `truth`: a file of the true groups."""

    config: GroupConfig
    sism_method: str | None = None
    ray: bool | None = None
    links: bool = False
    truth: Path | None = None


@dataclass(frozen=True)
class GroupSummary:
    """The rows of the file of groups, the number of rejects, and the scores if the true groups are known."""

    photos: list[GroupedPhoto]
    rejects: int
    scores: GroupingScores | None

    def format_text(self, out: Path) -> str:
        """The summary as sentences, one per line."""
        lines = [*describe_groups(self.photos), f"groups are in {out / GROUPS_FILE}"]
        if self.rejects:
            lines.append(f"{format_count(self.rejects, 'file')} could not be used")
        if self.scores is not None:
            lines.append(self.scores.format_text())
        return "\n".join(lines)


def group_folder(photos: Sequence[Path], out: Path, options: GroupOptions) -> GroupSummary:
    """Write the groups of photographs to `out`; folders of the photographs are ignored.

    An interrupted run continues where it stopped. Raises OutputError, before anything is written, if a file must not be
    written, CollectionError if there is no image, GroupingError if `truth` cannot be used.
    """
    truth = None if options.truth is None else tables.read_grouping(options.truth)
    output = OutputFolder(out)
    with find_photographs(photos, out) as photographs:
        output.plan([GROUPS_FILE], photographs.protected)
        with output.lock():
            output.start()
            found, rejects = find_photograph_groups(photographs, output.folder / WORK_FOLDER, options)
            output.write(GROUPS_FILE, tables.format_grouping(found))
            if options.links:
                link_photographs(photographs.root, found, output.folder)
            output.remove_old_files()
    scores = None
    if truth is not None:
        known = [(truth[one.photo], one.group) for one in found if truth.get(one.photo) is not None]
        if not known:
            raise TableError(f"{options.truth} names none of the photographs, as paths below {photographs.root}")
        scores = score_grouping([str(true) for true, _ in known], [group for _, group in known])
    return GroupSummary(found, rejects, scores)


def find_photograph_groups(
    photographs: Photographs, work: Path, options: GroupOptions
) -> tuple[list[GroupedPhoto], int]:
    """The groups of photographs, and the number of files that could not be used; `work` keeps what is computed."""
    model = _find_model(options, work / "model")
    index, samples, embeddings = (work / "ungrouped" / name for name in ("index", "samples", "embeddings"))
    count = photographs.write_index(index)
    on_ray = options.ray
    if on_ray is None:
        on_ray = count > MAX_IMAGES_IN_PROCESS or bool(os.environ.get("RAY_ADDRESS"))
    samples_job = SamplesJob(index, samples, model.sism, model.size)
    embeddings_job = EmbeddingsJob(samples, model.weights, embeddings, options.config)
    if on_ray:
        from pipeline.runtime.stream import RayExecutor

        executor: Executor = RayExecutor()
        with executor.connect():
            samples_job.run(executor)
            embeddings_job.run(executor)
    else:
        with ThreadPool() as pool:
            with Progress("SISMs", count) as progress:
                samples_job.run(ThreadExecutor(pool, 0, progress.update))
            with Progress("embeddings", count) as progress:
                embeddings_job.run(ThreadExecutor(pool, 0, progress.update))
    found = read_embeddings(embeddings)
    rejects = sum(len(tables.read_rejects(table)) for table in (index, samples, embeddings))
    return list_photos(found, find_groups(found, options.config), index), rejects


def link_photographs(root: Path, photos: Sequence[GroupedPhoto], out: Path) -> None:
    """Write `links/<group>/<file>`, links to the photographs, in place of those of an earlier run.

    Raises OutputError where `links` holds anything but links.
    """
    target, made = out / LINKS_FOLDER, out / WORK_FOLDER / LINKS_FOLDER
    if target.is_symlink() or any(one.is_file() and not one.is_symlink() for one in target.rglob("*")):
        raise OutputError(f"{target} was not written by cosal: move it or choose another folder")
    shutil.rmtree(made, ignore_errors=True)
    for photo in photos:
        folder = made / (photo.group or tables.UNSORTED)
        folder.mkdir(parents=True, exist_ok=True)
        name = Path(photo.photo).name
        link = folder / name
        if link.is_symlink():  # photographs of other folders may have the same name
            link = folder / photo.photo.replace("/", "-")
        link.symlink_to(root / photo.photo)
    shutil.rmtree(target, ignore_errors=True)
    made.rename(target)


def _find_model(options: GroupOptions, folder: Path) -> ModelChoice:
    found = find_model(options.config.model, folder)
    size = int(read_metadata(found.weights)["config"]["size"])
    sism = SismConfig(method=options.sism_method or found.sism_method, batch_size=SISM_BATCH_SIZE)
    return ModelChoice(found.weights.resolve(), size, sism, PredictConfig())


def make_config(model: str | None, min_group_size: int) -> GroupConfig:
    """The parameters with the default model of this repository."""
    return GroupConfig(model=model or str(WEIGHTS_FILE), min_group_size=min_group_size)
