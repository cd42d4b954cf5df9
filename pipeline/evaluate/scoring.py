"""Maps against masks, image by image over Ray: every method at the samples' size and at the masks' own."""

from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from tqdm import tqdm

from icnet import images
from pipeline import tables
from pipeline.metrics import score
from pipeline.metrics.records import ICNET, ORIGINAL, RESIZED, SISM, Row
from pipeline.metrics.score import Key, Score
from pipeline.runtime import cluster

Scored = tuple[Key, dict[Row, Score] | str]
"""An image by every method at both sizes, or the sentence why it cannot be scored."""


@dataclass(frozen=True)
class Task:
    """Some images: their rows of the index, where their samples and maps begin and end, files of other methods."""

    root: Path
    rows: list[dict[str, Any]]
    samples: tuple[Path, int, int]
    maps: tuple[Path, int, int]
    others: dict[str, dict[Key, Path]]


def key_of(row: dict[str, Any]) -> Key:
    """What addresses a row of any table."""
    return row["group"], row["name"]


def plan_tasks(
    rows: list[dict[str, Any]], root: Path, samples: Path, maps: Path, shard: int, others: dict[str, dict[Key, Path]]
) -> list[Task]:
    """Tasks of at most `shard` images; `rows` are rows of the index, sorted, that have a mask and a sample."""
    keys = {
        folder: [key_of(row) for row in tables.read_table(folder, ["group", "name"]).to_pylist()]
        for folder in (samples, maps)
    }
    tasks = []
    for start in range(0, len(rows), shard):
        part = rows[start : start + shard]
        own, first, last = {key_of(row) for row in part}, key_of(part[0]), key_of(part[-1])
        spans = [(folder.resolve(), *_span(keys[folder], first, last)) for folder in (samples, maps)]
        files = {method: {k: file for k, file in found.items() if k in own} for method, found in others.items()}
        tasks.append(Task(root.resolve(), part, *spans, files))
    return tasks


def run_tasks(tasks: list[Task], label: str) -> list[Scored]:
    """Score all tasks, in the order of their images; over Ray where there is more than one."""
    if len(tasks) <= 1:
        return [scored for task in tasks for scored in score_images(task)]
    done: dict[int, list[Scored]] = {}
    with cluster.connect(), tqdm(total=sum(len(task.rows) for task in tasks), unit="image", desc=label) as bar:
        work = ray.remote(score_images)
        pending = {work.remote(task): number for number, task in enumerate(tasks)}
        while pending:
            ready, _ = ray.wait(list(pending))
            for reference in ready:
                done[pending.pop(reference)] = found = ray.get(reference)
                bar.update(len(found))
    return [scored for number in sorted(done) for scored in done[number]]


def score_images(task: Task) -> list[Scored]:
    """Score the images of one task."""
    samples, maps = ({key_of(row): row for row in _read(*span)} for span in (task.samples, task.maps))
    scored: list[Scored] = []
    for row in task.rows:
        found = {ICNET: maps[key_of(row)]["map"]} if key_of(row) in maps else {}
        found[SISM] = samples[key_of(row)]["sism"]
        try:
            found |= {
                method: files[key_of(row)].read_bytes() for method, files in task.others.items() if key_of(row) in files
            }
            scored.append((key_of(row), _score_row(row, samples[key_of(row)], found, task.root)))
        except (OSError, images.ImageError) as error:
            scored.append((key_of(row), str(error)))
    return scored


def _read(folder: Path, start: int, stop: int) -> list[dict[str, Any]]:
    return tables.read_rows(folder, start, stop).to_pylist() if start < stop else []


def _score_row(row: dict[str, Any], sample: dict[str, Any], found: dict[str, bytes], root: Path) -> dict[Row, Score]:
    small, mask = images.decode_gray(sample["mask"]), images.decode_mask((root / row["mask"]).read_bytes())
    void = images.decode_mask((root / row["void"]).read_bytes()) if row["void"] else None
    result = {}
    for method, data in found.items():
        map_ = images.decode_gray(data)
        result[method, RESIZED] = score.score_map_at(map_, small, void, small.shape)
        result[method, ORIGINAL] = score.score_map_at(map_, mask, void)
    return result


def _span(keys: list[Key], first: Key, last: Key) -> tuple[int, int]:
    return bisect_left(keys, first), bisect_left(keys, (last[0], last[1] + "\0"))
