"""Stage sism: its processes are killed, and it is run again."""

import os
import shutil
import signal
import time

import psutil
import pytest

from pipeline import tables
from tests.helpers import photographs
from tests.helpers.processes import start_python


def start(folder, actors=2):
    """Start the stage in another process."""
    code = (
        "from pathlib import Path; from pipeline.sism.config import SismConfig; "
        "from pipeline.sism.stage import make_samples; "
        f"config = SismConfig(method='gc', shard_size=2, batch_size=2, num_actors={actors}); "
        f"make_samples(Path({str(folder / 'index')!r}), Path({str(folder / 'samples')!r}), config, 96)"
    )
    return start_python(code)


def wait_for_shards(process, samples, count):
    while len(list(samples.glob("shard-*"))) < count:
        assert process.poll() is None, "the stage ended before it could be killed"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    photos = photographs.write(folder / "photos", {f"g{number}": 6 for number in range(8)}, 300, 400)
    photographs.index(photos, folder / "index")
    return folder


@pytest.fixture(scope="module")
def undisturbed(large):
    """The bytes of the table if nothing is killed."""
    assert start(large).wait() == 0
    return photographs.files(large / "samples")


@pytest.fixture
def running(large, undisturbed, tmp_path):
    """The stage on the same collection, in another folder, with some shards finished."""
    shutil.copytree(large / "index", tmp_path / "index")
    process = start(tmp_path)
    wait_for_shards(process, tmp_path / "samples", 4)
    return process


def child(process, named):
    family = psutil.Process(process.pid).children(recursive=True)
    return next(one for one in family if named in "".join(one.cmdline()[:1]))


@pytest.mark.slow
def test_a_killed_driver_leaves_whole_shards_and_a_rerun_ends_with_the_same_bytes(running, undisturbed, tmp_path):
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "samples").glob("shard-*")}
    assert not (tmp_path / "samples" / tables.MANIFEST_FILE).exists()
    assert 4 <= len(kept) < 24
    assert start(tmp_path, actors=1).wait() == 0
    assert photographs.files(tmp_path / "samples") == undisturbed
    assert all(file.stat().st_mtime_ns == then for file, then in kept.items())


@pytest.mark.slow
def test_a_killed_actor_is_replaced_and_nothing_is_lost(running, undisturbed, tmp_path):
    child(running, "MapWorker").kill()
    assert running.wait() == 0
    assert photographs.files(tmp_path / "samples") == undisturbed


@pytest.mark.slow
def test_a_killed_raylet_ends_the_stage_and_a_rerun_ends_with_the_same_bytes(running, undisturbed, tmp_path):
    child(running, "raylet").kill()
    assert running.wait(timeout=120) != 0
    assert not (tmp_path / "samples" / tables.MANIFEST_FILE).exists()
    assert start(tmp_path).wait() == 0
    assert photographs.files(tmp_path / "samples") == undisturbed
