"""Co-saliency maps of a folder of photographs, without params.yaml."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from icnet import images
from icnet.images.refine import refine
from pipeline import gallery, tables
from pipeline.cli.export import name_png
from pipeline.cli.gallery import (
    PAGE,
    TablePair,
    format_command,
    is_thumbnail,
    list_gallery_files,
    make_rejects,
    read_groups,
    write_pages,
    write_thumbnails,
)
from pipeline.cli.grouping import GROUPS_FILE, GroupOptions, find_photograph_groups, list_tables
from pipeline.cli.groups import SISM_BATCH_SIZE, GroupRun, MadeTables, ModelChoice, needs_ray
from pipeline.cli.models import FoundModel, find_model
from pipeline.cli.output import WORK_FOLDER, OutputFolder
from pipeline.cli.photographs import (
    REJECTS_FILE,
    SCORES_FILE,
    Photographs,
    find_photographs,
    format_rejects,
    has_map_file,
    name_sheet,
)
from pipeline.cli.sheets import draw_group_sheets
from pipeline.group.config import GroupConfig
from pipeline.predict.actors import DTYPES
from pipeline.predict.config import PredictConfig
from pipeline.predict.maps import MapsJob, find_empty_groups
from pipeline.runtime.csv_files import format_csv
from pipeline.runtime.networks import load_network
from pipeline.runtime.report import format_count
from pipeline.sism.config import SismConfig
from pipeline.sism.known import KnownSamples
from pipeline.sism.samples import SamplesJob

SCORES = ("weight", "area", "agreement", "saliency")


@dataclass(frozen=True)
class Options:
    """How `cosal predict` makes maps.

    `sism_method`: None takes that of the model. `ray`: None decides by the number of images, and RAY_ADDRESS.
    `gallery`: whether to write a page to look at. `refine`: whether edges of maps follow those of the photographs.
    `looks`: how often a group is compared; None takes the model's own number.
    `groups`: a file of groups, which replaces the folders; `ungrouped`: find the groups first.
    """

    model: str
    sism_method: str | None = None
    batch_size: int = 8
    ray: bool | None = None
    gallery: bool = True
    refine: bool = False
    groups: Path | None = None
    ungrouped: bool = False
    looks: int | None = None

    def format_command(self, photos: Sequence[Path], out: Path) -> str:
        """The command that makes the same files."""
        sism = ["--sism", self.sism_method] if self.sism_method else []
        batch = ["--batch-size", self.batch_size] if self.batch_size != Options.batch_size else []
        ray = [] if self.ray is None else ["--ray" if self.ray else "--no-ray"]
        refine = ["--refine"] if self.refine else []
        looks = ["--looks", self.looks] if self.looks else []
        groups = ["--groups", self.groups] if self.groups else ["--ungrouped"] if self.ungrouped else []
        return format_command(
            "predict", *photos, out, "--model", self.model, *sism, *batch, *ray, *looks, *refine, *groups
        )


@dataclass(frozen=True)
class Summary:
    """What was written. `predicted`: maps made by this run; `removed`: files of earlier runs, without thumbnails;
    `page`: the page to look at, None if it was left out. Files are paths below the output folder."""

    maps: int
    predicted: int
    groups: int
    rejects: int
    empty_groups: list[str]
    removed: list[str]
    page: str | None = None

    def format_text(self, out: Path) -> str:
        """The summary as sentences, one per line."""
        kept = f", {self.maps - self.predicted} of them from an earlier run" if self.predicted < self.maps else ""
        maps, groups = format_count(self.maps, "co-saliency map"), format_count(self.groups, "group")
        lines = [f"{maps} of {groups} in {out}{kept}"]
        if self.removed:
            verb = "was" if len(self.removed) == 1 else "were"
            removed = f"{format_count(len(self.removed), 'file')} of earlier runs {verb} removed"
            lines.append(f"{removed}: {_shorten(self.removed)}")
        if self.rejects:
            lines.append(f"{format_count(self.rejects, 'file')} could not be used, reasons in {out / REJECTS_FILE}")
        lines += [f"group {name!r}: SISMs are nearly empty, maps are unreliable" for name in self.empty_groups]
        if self.page:
            lines.append(f"open {out / self.page} in a browser to look at them")
        return "\n".join(lines)


def predict_folder(photos: Sequence[Path], out: Path, options: Options) -> Summary:
    """Write the maps of photographs, a contact sheet per group, scores and rejects to `out`.

    `photos`: one folder, one zip archive, or image files.

    An interrupted run continues where it stopped. Raises OutputError, before anything is written, if a file must not be
    written, CollectionError if there is no image, and LockedError if another run writes to `out`.
    """
    output = OutputFolder(out)
    with find_photographs(photos, out) as photographs:
        photographs, more = _regroup(photographs, output, options)
        names = photographs.list_outputs() + list(more)
        if options.gallery:
            names += list_gallery_files([(entry.group, entry.name) for entry in photographs.entries])
        output.plan(names, photographs.protected)
        with output.lock():
            output.start()
            for name, content in more.items():
                output.write(name, content)
            return FolderRun(photographs, output, options, options.format_command(photos, out)).run()


def _regroup(photographs: Photographs, output: OutputFolder, options: Options) -> tuple[Photographs, dict[str, bytes]]:
    """The photographs in the groups that the options ask for, and files to write beside the maps."""
    if options.groups is not None:
        return photographs.regroup(tables.read_grouping(options.groups), options.groups.name), {}
    if not options.ungrouped:
        return photographs, {}
    output.plan([GROUPS_FILE], photographs.protected)
    with output.lock():
        how = GroupOptions(GroupConfig(model=options.model), options.sism_method, options.ray)
        found, rejects = find_photograph_groups(photographs, output.folder / WORK_FOLDER, how)
    grouping = {photo.photo: photo.group for photo in found}
    regrouped, known = photographs.regroup(grouping, GROUPS_FILE), {row["path"]: row for row in rejects}
    for group in regrouped.groups:  # a file that cannot be used keeps the reason why
        group.rejects = [known.get(row["path"], row) for row in group.rejects]
    return regrouped, {GROUPS_FILE: tables.format_grouping(found)}


class FolderRun:
    """One run of `cosal predict`."""

    def __init__(self, photographs: Photographs, output: OutputFolder, options: Options, command: str) -> None:
        """`command`: how the run was started."""
        self.photographs, self.output, self.options, self.command = photographs, output, options, command
        self.work = output.folder / WORK_FOLDER

    def run(self) -> Summary:
        """Write maps, contact sheets, scores, rejects and the page."""
        model = self._find_model()
        if needs_ray(self.options.ray, self.photographs.write_index(self.work / "index")):
            made = [self._compute_on_ray(model)]
            self._write_group(made[0])
        else:
            known = KnownSamples.read(list_tables(self.work).samples) if self.options.ungrouped else None
            made = GroupRun(self.work / "index", self.work, model, self._write_group, known).run()
        self._write_scores(made)
        rejects = self._write_rejects(made)
        if self.options.gallery:
            self._write_pages(made, model, rejects)
        rows = [tables.read_table(one.maps, ["group"])["group"].to_pylist() for one in made]
        return Summary(
            maps=sum(map(len, rows)),
            predicted=sum(one.predicted for one in made),
            groups=len({group for groups in rows for group in groups}),
            rejects=len(rejects),
            empty_groups=[group for one in made for group in find_empty_groups(one.maps)],
            removed=[name for name in self.output.remove_old_files() if not is_thumbnail(name)],
            page=PAGE if self.options.gallery else None,
        )

    def _find_model(self) -> ModelChoice:
        found: FoundModel = find_model(self.options.model, self.work / "model")
        weights = found.weights.resolve()
        predict = PredictConfig(batch_size=self.options.batch_size, looks=self.options.looks)
        sism = SismConfig(method=self.options.sism_method or found.sism_method, batch_size=SISM_BATCH_SIZE)
        return ModelChoice(weights, load_network(str(weights), DTYPES[predict.precision]).config.size, sism, predict)

    def _compute_on_ray(self, model: ModelChoice) -> MadeTables:
        from pipeline.runtime.stream import RayExecutor

        samples, maps, executor = self.work / "samples", self.work / "maps", RayExecutor()
        with executor.connect():
            SamplesJob(self.work / "index", samples, model.sism, model.size, one_group_per_shard=True).run(executor)
            job = MapsJob(samples, model.weights, maps, self.work / "cues", model.predict, one_group_per_shard=True)
            made = job.run(executor)
        return MadeTables(samples, maps, made.predicted)

    def _write_group(self, made: MadeTables) -> None:
        for group, sheet in draw_group_sheets(made.samples, made.maps):
            if name_sheet(group) in self.output.planned:
                self.output.write(name_sheet(group), sheet)
        for shard in tables.iterate_shards(made.maps, ["group", "name", "map"]):
            for row in shard.to_pylist():
                if has_map_file(row["group"], row["name"]):
                    self.output.write(name_png(row["group"], row["name"]), self._finish_map(row))
        if self.options.gallery:
            write_thumbnails(TablePair(made.samples, made.maps), self.output)

    def _finish_map(self, row: dict[str, Any]) -> bytes:
        if not self.options.refine:
            return cast(bytes, row["map"])
        image = images.decode(tables.read_original(self.photographs.root, *self._originals[row["group"], row["name"]]))
        return images.encode(refine(images.decode_gray(row["map"]), image))

    @cached_property
    def _originals(self) -> dict[tuple[str, str], tuple[str, str]]:
        """Path and digest of every photograph, by group and name."""
        rows = tables.read_table(self.work / "index", ["group", "name", "image", "image_digest"]).to_pylist()
        return {(row["group"], row["name"]): (row["image"], row["image_digest"]) for row in rows}

    def _write_pages(self, made: Iterable[MadeTables], model: ModelChoice, rejects: list[dict[str, Any]]) -> None:
        facts = {
            "Model": self.options.model,
            "sha256 of the model": hashlib.sha256(model.weights.read_bytes()).hexdigest(),
            "SOD method": model.sism.method,
            "Command": self.command,
        }
        sections = read_groups(
            [TablePair(one.samples, one.maps) for one in made],
            find_map=lambda group, name: name_png(group, name) if has_map_file(group, name) else None,
            find_sheet=lambda group: name_sheet(group) if name_sheet(group) in self.output.planned else None,
        )
        title = f"Co-saliency maps of {self.photographs.root.name or 'photographs'}"
        write_pages(gallery.Gallery(title, sections, facts, make_rejects(rejects), REJECTS_FILE), self.output)

    def _write_scores(self, made: Iterable[MadeTables]) -> None:
        """Write the scores of every image; the image that has least in common with its group is first."""
        columns = ["group", "name", *SCORES]
        rows = [row for one in made for row in tables.read_table(one.maps, columns).to_pylist()]
        rows.sort(key=lambda row: (row["group"], row["weight"]))
        cells = [[row["group"], row["name"], *(f"{row[name]:.4f}" for name in SCORES)] for row in rows]
        self.output.write(SCORES_FILE, format_csv(columns, cells))

    def _write_rejects(self, made: Iterable[MadeTables]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.photographs.list_rejects()
        for table in (self.work / "index", *(folder for one in made for folder in (one.samples, one.maps))):
            rows += tables.read_rejects(table).to_pylist()
        self.output.write(REJECTS_FILE, format_rejects(rows))
        return rows


def _shorten(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (" ..." if len(names) > most else "")
