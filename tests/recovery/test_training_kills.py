"""Trainings whose processes are killed give the results of undisturbed ones, to the last bit."""

import pandas as pd
import psutil
import pytest

from pipeline.train.ray_compat import SNAPSHOT
from tests.helpers.trainings import Stage, assert_same, write_samples

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """A finished samples table."""
    return write_samples(tmp_path_factory.mktemp("toys") / "samples")


@pytest.fixture(scope="module")
def undisturbed(samples, tmp_path_factory):
    """The results of a stage that nothing interrupts."""
    stage = Stage(tmp_path_factory.mktemp("undisturbed"), samples)
    process = stage.start()
    process.communicate(timeout=800)
    assert process.returncode == 0
    return stage.results()


def kill_driver(process):
    """Kill the stage and wait until Ray's processes are gone."""
    below = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    psutil.wait_procs(below, timeout=120)


def finish(stage):
    """Run the stage again to its end; returns what it prints."""
    process = stage.start()
    said, _ = process.communicate(timeout=800)
    assert process.returncode == 0
    return said


def test_a_training_continues_by_itself_when_a_rank_is_killed(samples, tmp_path, undisturbed):
    stage = Stage(tmp_path, samples)
    process = stage.start()
    stage.wait_for(process, 3)
    below = psutil.Process(process.pid).children(recursive=True)
    ranks = [child for child in below if "RayTrainWorker" in " ".join(child.cmdline())]
    assert len(ranks) == 2
    ranks[0].kill()
    process.communicate(timeout=800)
    assert process.returncode == 0
    assert_same(stage.results(), undisturbed)


def test_a_training_continues_when_its_driver_was_killed_and_is_run_again(samples, tmp_path, undisturbed):
    stage = Stage(tmp_path, samples)
    process = stage.start()
    stage.wait_for(process, 4)
    kill_driver(process)
    said = finish(stage)
    assert "continues from the last checkpoint" in said
    assert "epoch 1/8" not in said
    assert_same(stage.results(), undisturbed)


def test_a_list_of_checkpoints_that_a_kill_damaged_costs_no_epoch(samples, tmp_path, undisturbed):
    stage = Stage(tmp_path, samples)
    process = stage.start()
    stage.wait_for(process, 4)
    kill_driver(process)
    snapshot = stage.work / SNAPSHOT
    snapshot.write_text(snapshot.read_text()[:40])
    said = finish(stage)
    assert "continues from the last checkpoint" in said
    assert "epoch 1/8" not in said
    assert_same(stage.results(), undisturbed)


def test_a_compiled_training_learns_the_same_but_for_rounding(samples, tmp_path):
    histories = []
    for compiled in (False, True):
        folder = tmp_path / f"compiled-{compiled}"
        folder.mkdir()
        stage = Stage(folder, samples, "he", epochs=2, num_workers=1, compile=compiled)
        finish(stage)
        histories.append(stage.results()[0])
    pd.testing.assert_frame_equal(*histories, rtol=1e-2)
