"""Groups of photographs that are not sorted: `cosal group`, and `cosal predict --ungrouped`."""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pipeline import tables
from pipeline.cli.groups import SISM_BATCH_SIZE, ModelChoice, needs_ray
from pipeline.cli.models import find_model
from pipeline.cli.output import WORK_FOLDER, OutputError, OutputFolder
from pipeline.cli.photographs import REJECTS_FILE, Photographs, find_photographs, format_rejects
from pipeline.group.clustering import find_groups
from pipeline.group.config import GroupConfig
from pipeline.group.embeddings import EmbeddingsJob, read_embeddings
from pipeline.group.result import describe_groups, list_photos
from pipeline.group.scores import GroupingScores, score_grouping
from pipeline.predict.config import PredictConfig
from pipeline.runtime import files
from pipeline.runtime.executor import Executor
from pipeline.runtime.networks import load_network
from pipeline.runtime.progress import Progress
from pipeline.runtime.report import format_count
from pipeline.runtime.threads import ThreadExecutor, ThreadPool
from pipeline.sism.config import SismConfig
from pipeline.sism.samples import SamplesJob
from pipeline.tables import GroupedPhoto, TableError

GROUPS_FILE, LINKS_FOLDER = "groups.csv", "links"

LINKS_RECORD = f"{WORK_FOLDER}/links.json"
"""The links that an earlier run wrote, as paths below OUT."""


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
            lines.append(f"{format_count(self.rejects, 'file')} could not be used, reasons in {out / REJECTS_FILE}")
        if self.scores is not None:
            lines.append(self.scores.format_text())
        return "\n".join(lines)


def group_folder(photos: Sequence[Path], out: Path, options: GroupOptions) -> GroupSummary:
    """Write the groups of photographs to `out`; folders of the photographs are ignored.

    An interrupted run continues where it stopped. Raises OutputError, before anything is written, if a file must not be
    written, CollectionError if there is no image, GroupingError if `truth` cannot be used.
    """
    if options.links and any(path.is_file() and zipfile.is_zipfile(path) for path in photos):
        raise OutputError("--links needs a folder: the photographs of an archive are unpacked for this run only")
    truth = None if options.truth is None else tables.read_grouping(options.truth)
    output = OutputFolder(out)
    with find_photographs(photos, out) as photographs:
        output.plan([GROUPS_FILE, REJECTS_FILE], photographs.protected)
        with output.lock():
            output.start()
            found, rejects = find_photograph_groups(photographs, output.folder / WORK_FOLDER, options)
            output.write(GROUPS_FILE, tables.format_grouping(found))
            output.write(REJECTS_FILE, format_rejects(rejects))
            if options.links:
                link_photographs(photographs.root, found, output.folder)
            output.remove_old_files()
    scores = None
    if truth is not None:
        known = [(truth[one.photo], one.group) for one in found if truth.get(one.photo) is not None]
        if not known:
            raise TableError(f"{options.truth} names none of the photographs, as paths below {photographs.root}")
        scores = score_grouping([str(true) for true, _ in known], [group for _, group in known])
    return GroupSummary(found, len(rejects), scores)


class UngroupedTables(NamedTuple):
    """The tables of all photographs as one group."""

    index: Path
    samples: Path
    embeddings: Path


def list_tables(work: Path) -> UngroupedTables:
    """The tables that `find_photograph_groups` keeps below `work`."""
    return UngroupedTables(*(work / "ungrouped" / name for name in UngroupedTables._fields))


def find_photograph_groups(
    photographs: Photographs, work: Path, options: GroupOptions
) -> tuple[list[GroupedPhoto], list[dict[str, Any]]]:
    """The groups of photographs, and rows of REJECTS; `work` keeps what is computed."""
    model = _find_model(options, work / "model")
    made = list_tables(work)
    count = photographs.write_index(made.index)
    samples_job = SamplesJob(made.index, made.samples, model.sism, model.size)
    embeddings_job = EmbeddingsJob(made.samples, model.weights, made.embeddings, options.config)
    if needs_ray(options.ray, count):
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
    found = read_embeddings(made.embeddings)
    rejects = [row for table in made for row in tables.read_rejects(table).to_pylist()]
    return list_photos(found, find_groups(found, options.config), made.index), rejects


def link_photographs(root: Path, photos: Sequence[GroupedPhoto], out: Path) -> None:
    """Write `links/<group>/<file>`, links to the photographs, in place of those of an earlier run.

    Raises OutputError where `links` holds anything else.
    """
    names: dict[str, str] = {}
    for photo in photos:
        folder = f"{LINKS_FOLDER}/{photo.group or tables.UNSORTED}"
        name = f"{folder}/{Path(photo.photo).name}"
        names[name if name not in names else f"{folder}/{photo.photo.replace('/', '-')}"] = photo.photo
    record = out / LINKS_RECORD
    before = set(json.loads(record.read_bytes())) if record.is_file() else set()
    there = {link.relative_to(out).as_posix() for link in (out / LINKS_FOLDER).rglob("*") if not _is_real_folder(link)}
    if (out / LINKS_FOLDER).is_symlink() or there - before:
        raise OutputError(f"{out / LINKS_FOLDER} holds what cosal did not write: move it or choose another folder")
    files.write_json(record, sorted(before | names.keys()))
    for name in there:
        (out / name).unlink()
    for name, photo in names.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).symlink_to(root / photo)
    for folder in sorted((out / LINKS_FOLDER).rglob("*"), reverse=True):
        if _is_real_folder(folder) and not any(folder.iterdir()):
            folder.rmdir()
    files.write_json(record, sorted(names))


def _is_real_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _find_model(options: GroupOptions, folder: Path) -> ModelChoice:
    found = find_model(options.config.model, folder)
    weights = found.weights.resolve()
    sism = SismConfig(method=options.sism_method or found.sism_method, batch_size=SISM_BATCH_SIZE)
    return ModelChoice(weights, load_network(str(weights), torch.float32).config.size, sism, PredictConfig())
