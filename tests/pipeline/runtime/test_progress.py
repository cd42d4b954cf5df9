"""Progress of stages: what is printed where there is no terminal."""

import re
import time

import pytest

from pipeline.runtime import progress
from pipeline.runtime.executor import Task, Work, WorkerContext
from pipeline.runtime.progress import Progress
from pipeline.runtime.stream import RayExecutor
from pipeline.tables import Shard


@pytest.fixture
def talkative(monkeypatch):
    """A line after every change."""
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)


def read_counts(text):
    return [int(count) for count in re.findall(r"^maps: (\d+) of 12 images", text, re.MULTILINE)]


def test_a_line_has_count_rate_and_time_left(talkative, capsys):
    with Progress("maps", 12) as bar:
        bar.update(2.4)
        bar.raise_to(9)
        bar.raise_to(3)
        bar.update(100)
    printed = capsys.readouterr().err
    assert read_counts(printed) == [2, 9, 9, 12]
    assert re.match(r"maps: 2 of 12 images, [\d.]+ images/s, \d+ s left\n", printed)


def test_nothing_is_printed_in_the_first_half_minute(capsys):
    with Progress("maps", 12) as bar:
        bar.update(1)
        bar.finish()
    assert capsys.readouterr().err == "" and bar.total == 1


class SlowActor:
    def __init__(self, context: WorkerContext) -> None:
        self.context = context

    def __call__(self, task: Task) -> Task:
        for _ in range(12):
            time.sleep(0.6)
            self.context.report_progress(1)
        return {"number": task["number"], "images": 12}


def test_images_are_counted_before_their_shard_is_finished(talkative, ray_session, capsys):
    executor = RayExecutor()
    pool = executor.plan_actors(1, None, False)
    shards = [Shard(0, 0, 12, "key")]
    executor.process_shards(shards, Work(dict, SlowActor, {"context": executor.context}), pool, "maps")
    counts = read_counts(capsys.readouterr().err)
    assert counts[-1] == 12 and counts == sorted(counts)
    assert len({count for count in counts if 0 < count < 12}) >= 3
