"""Score the maps of every method, image by image, as Ray tasks: at the samples' size and at the masks' size."""

from bisect import bisect_left
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError

from icnet import images
from pipeline import tables
from pipeline.evaluate.inputs import Inputs
from pipeline.metrics import score
from pipeline.metrics.records import ICNET, ORIGINAL, RESIZED, SISM, Row
from pipeline.metrics.score import Key, Score
from pipeline.runtime import cluster
from pipeline.runtime.progress import Progress

ALL = "all"
"""In place of a method: the image could not be scored for any method."""

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Task:
    """Images that are scored together: rows of the index, row ranges of the samples and maps, other methods' files."""

    root: Path
    rows: Rows
    samples: tuple[Path, int, int]
    maps: tuple[Path, int, int]
    others: dict[str, dict[Key, Path]]


@dataclass(frozen=True)
class ScoredImage:
    """The scores of one image, and why a method could not be scored."""

    key: Key
    scores: dict[Row, Score] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


def key_of(row: dict[str, Any]) -> Key:
    """The key of a row of any table."""
    return row["group"], row["name"]


def plan_tasks(rows: Rows, inputs: Inputs, shard_size: int, others: dict[str, dict[Key, Path]]) -> list[Task]:
    """Tasks of at most `shard_size` images. `rows`: sorted rows of the index that have a mask and a sample."""
    folders = inputs.samples, inputs.maps
    keys = [list(map(key_of, tables.read_table(folder, ["group", "name"]).to_pylist())) for folder in folders]
    tasks = []
    for start in range(0, len(rows), shard_size):
        part = rows[start : start + shard_size]
        own, first, last = {key_of(row) for row in part}, key_of(part[0]), key_of(part[-1])
        samples, maps = (
            (folder.resolve(), *_find_range(one, first, last)) for folder, one in zip(folders, keys, strict=True)
        )
        files = {method: {k: file for k, file in found.items() if k in own} for method, found in others.items()}
        tasks.append(Task(inputs.root.resolve(), part, samples, maps, files))
    return tasks


def run_tasks(tasks: list[Task], label: str) -> list[ScoredImage]:
    """Run all tasks, with Ray if there is more than one. The order is that of the images.

    Raises OriginalError if a mask cannot be read or changed after it was indexed.
    """
    if len(tasks) <= 1:
        return [scored for task in tasks for scored in score_images(task)]
    done: dict[int, list[ScoredImage]] = {}
    with cluster.connect(), Progress(label, sum(len(task.rows) for task in tasks)) as progress:
        work = ray.remote(score_images)
        pending = {work.remote(task): number for number, task in enumerate(tasks)}
        while pending:
            ready, _ = ray.wait(list(pending))
            for reference in ready:
                done[pending.pop(reference)] = found = _get_result(reference)
                progress.update(len(found))
    return [scored for number in sorted(done) for scored in done[number]]


def _get_result(reference: ray.ObjectRef) -> list[ScoredImage]:
    try:
        return ray.get(reference)
    except RayTaskError as error:
        raise (error.cause if isinstance(error.cause, tables.TableError) else error) from None


def score_images(task: Task) -> list[ScoredImage]:
    """Score the images of one task."""
    samples, maps = ({key_of(row): row for row in _read_rows(*rows)} for rows in (task.samples, task.maps))
    return [_score_image(row, samples[key_of(row)], maps.get(key_of(row)), task) for row in task.rows]


def _score_image(
    row: dict[str, Any], sample: dict[str, Any], map_row: dict[str, Any] | None, task: Task
) -> ScoredImage:
    """Score every method on one image. A file of another method that cannot be read affects only that method."""
    found = ScoredImage(key_of(row))
    try:
        small, mask = images.decode_gray(sample["mask"]), images.decode_mask(_read_original(task.root, row, "mask"))
        void = images.decode_mask(_read_original(task.root, row, "void")) if row["void"] else None
        maps = {SISM: images.decode_gray(sample["sism"])}
        if map_row is not None:
            maps[ICNET] = images.decode_gray(map_row["map"])
    except images.ImageError as error:
        found.errors[ALL] = str(error)
        return found
    for method, files in task.others.items():
        if found.key in files:
            _read_other_map(files[found.key], method, maps, found.errors)
    for method, map_ in maps.items():
        found.scores[method, RESIZED] = score.score_map_at(map_, small, void, small.shape[:2])
        found.scores[method, ORIGINAL] = score.score_map_at(map_, mask, void)
    return found


def _read_other_map(file: Path, method: str, maps: dict[str, Any], errors: dict[str, str]) -> None:
    try:
        maps[method] = images.decode_gray(file.read_bytes())
    except (OSError, images.ImageError) as error:
        errors[method] = str(error)


def _read_original(root: Path, row: dict[str, Any], kind: str) -> bytes:
    return tables.read_original(root, row[kind], row[f"{kind}_digest"])


def _read_rows(folder: Path, start: int, stop: int) -> Rows:
    return tables.read_rows(folder, start, stop).to_pylist() if start < stop else []


def _find_range(keys: list[Key], first: Key, last: Key) -> tuple[int, int]:
    return bisect_left(keys, first), bisect_left(keys, (last[0], last[1] + "\0"))
