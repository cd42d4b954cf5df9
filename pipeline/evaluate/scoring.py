"""Score the maps of every method, image by image, as Ray tasks, in each of WAYS.

A task adds up the scores of its images by group, so that the driver holds sums of groups, and a few numbers an image.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from ray.exceptions import RayTaskError

from icnet import images
from pipeline import tables
from pipeline.evaluate.inputs import Inputs
from pipeline.metrics.aggregate import Scores
from pipeline.metrics.pysod import score_map_at
from pipeline.metrics.records import ICNET, IN_FIELD, ORIGINAL, RESIZED, SISM, Absent, Row, list_absent
from pipeline.metrics.score import FIELD, METRICS, Key, Score
from pipeline.runtime import cluster
from pipeline.runtime.progress import Progress

ALL = "all"
"""In place of a method: the image could not be scored for any method."""

TASKS_PER_CORE = 2
"""Tasks that are in flight: one that runs, and one that waits."""

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Task:
    """Images that are scored together: rows of the index, row ranges of the samples and maps, other methods' files.

    `start` is the place of the first image among all that are scored.
    """

    root: Path
    start: int
    rows: Rows
    samples: tuple[Path, int, int]
    maps: tuple[Path, int, int]
    others: dict[str, dict[Key, Path]]


@dataclass(frozen=True)
class TaskScores:
    """The scores of a task's images. `start` is that of the task."""

    start: int
    sums: dict[Row, Scores]
    places: dict[Row, list[int]]
    """The scored images, counted from the first of the task."""
    metrics: dict[Row, np.ndarray]
    """METRICS of each scored image, [images, 10]."""
    absent: list[Absent]
    num_images: int


@dataclass(frozen=True)
class ScoredImage:
    """The scores of one image, and why a method could not be scored."""

    key: Key
    scores: dict[Row, Score] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


def key_of(row: dict[str, Any]) -> Key:
    """The key of a row of any table."""
    return row["group"], row["name"]


def plan_tasks(index: pa.Table, inputs: Inputs, shard_size: int, others: dict[str, dict[Key, Path]]) -> Iterator[Task]:
    """Tasks of at most `shard_size` images, one after the other. `index`: rows that have a mask and a sample."""
    folders = inputs.samples, inputs.maps
    positions = [tables.find_positions(index, tables.read_table(folder, ["group", "name"])) for folder in folders]
    for start in range(0, len(index), shard_size):
        rows = index.slice(start, shard_size).to_pylist()
        samples, maps = (
            (folder.resolve(), *_find_range(found[start : start + shard_size]))
            for folder, found in zip(folders, positions, strict=True)
        )
        keys = [key_of(row) for row in rows]
        files = {method: {key: found[key] for key in keys if key in found} for method, found in others.items()}
        yield Task(inputs.root.resolve(), start, rows, samples, maps, files)


def run_tasks(tasks: Iterator[Task], num_images: int, label: str) -> Iterator[TaskScores]:
    """Run all tasks, with Ray if there is more than one. They come as they are finished.

    Raises OriginalError if a mask cannot be read or changed after it was indexed.
    """
    first = list(islice(tasks, 2))
    if len(first) < 2:
        yield from map(score_images, first)
        return
    with cluster.connect(), Progress(label, num_images) as progress:
        work, most = ray.remote(score_images), TASKS_PER_CORE * cluster.count_cores()
        pending = [work.remote(task) for task in first]
        while pending:
            pending += [work.remote(task) for task in islice(tasks, max(0, most - len(pending)))]
            (ready,), pending = ray.wait(pending)
            found = _get_result(ready)
            progress.update(found.num_images)
            yield found


def _get_result(reference: ray.ObjectRef) -> TaskScores:
    try:
        return ray.get(reference)
    except RayTaskError as error:
        raise (error.cause if isinstance(error.cause, tables.TableError) else error) from None


def score_images(task: Task) -> TaskScores:
    """Score the images of one task."""
    samples, maps = ({key_of(row): row for row in _read_rows(*rows)} for rows in (task.samples, task.maps))
    found = [_score_image(row, samples[key_of(row)], maps.get(key_of(row)), task) for row in task.rows]
    scored: dict[Row, list[tuple[int, Key, Score]]] = {}
    absent: list[Absent] = []
    for place, image in enumerate(found):
        for row, one in image.scores.items():
            scored.setdefault(row, []).append((place, image.key, one))
        absent += _list_absent(image)
    sums = {row: Scores.of((key, one) for _, key, one in part) for row, part in scored.items()}
    places = {row: [place for place, _, _ in part] for row, part in scored.items()}
    metrics = {row: np.array([_list_metrics(one) for _, _, one in part]) for row, part in scored.items()}
    return TaskScores(task.start, sums, places, metrics, absent, len(task.rows))


def _list_metrics(one: Score) -> list[float]:
    values = one.metrics()
    return [values[name] for name in METRICS]


def _list_absent(image: ScoredImage) -> Iterable[Absent]:
    for method, reason in image.errors.items():
        yield from list_absent(method, [image.key], reason)
    if (ICNET, RESIZED) not in image.scores and ALL not in image.errors:
        yield from list_absent(ICNET, [image.key], "has no co-saliency map")


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
        found.scores[method, RESIZED] = score_map_at(map_, small, void, small.shape[:2])
        found.scores[method, ORIGINAL] = score_map_at(map_, mask, void)
        found.scores[method, IN_FIELD] = score_map_at(map_, mask, void, convention=FIELD)
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


def _find_range(positions: np.ndarray) -> tuple[int, int]:
    """The range of rows that holds all positions; -1 stands for none."""
    known = positions[positions >= 0]
    return (int(known.min()), int(known.max()) + 1) if len(known) else (0, 0)
