"""`cosal table` after kills."""

import os
import signal
import subprocess
import sys
import time

import pytest

from pipeline.papertables.checkout import ExperimentError
from pipeline.papertables.run import make_table
from tests.helpers import repository as scripted


@pytest.fixture
def repository(tmp_path, monkeypatch):
    folder = scripted.create(tmp_path)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COUNT", str(tmp_path / "count.txt"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


@pytest.mark.slow
def test_a_killed_table_continues_and_waits_for_an_experiment_that_still_runs(repository):
    environment = {**os.environ, "SLEEP": "6", "PYTHONPATH": str(scripted.ROOT)}
    command = [sys.executable, "-c", "from pipeline.cli import app; app.main()", "table", "3"]
    child = subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)
    before = scripted.read_state(repository)
    while not scripted.list_runs(repository):
        assert child.poll() is None
        time.sleep(0.2)
    child.kill()
    child.wait()
    with pytest.raises(ExperimentError, match="another table is being made"):
        make_table(3)
    os.killpg(child.pid, signal.SIGKILL)
    assert scripted.read_state(repository) == before
    assert set(_retry(make_table, 3).found) == {"table-3-1", "table-3-2"}
    assert scripted.read_state(repository) == before


def _retry(make, *arguments):
    deadline = time.monotonic() + 60
    while True:
        try:
            return make(*arguments)
        except ExperimentError:
            assert time.monotonic() < deadline
            time.sleep(0.5)
