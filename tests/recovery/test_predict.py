"""Stage predict is killed and run again."""

import os
import signal
import time

import pytest

from pipeline import tables
from tests.helpers import checkpoints, photographs
from tests.helpers.processes import start_python

SIDE = 64
SIZES = {"apple": 5, "bear": 1, "chair": 13, "door": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return checkpoints.save_small(tmp_path_factory.mktemp("model"), SIDE)


def start(samples, model, folder):
    code = (
        "from pathlib import Path; from pipeline.predict.config import PredictConfig; "
        "from pipeline.predict.stage import predict_maps; "
        f"predict_maps(Path({str(samples)!r}), Path({str(model)!r}), Path({str(folder / 'maps')!r}), "
        f"Path({str(folder / 'work')!r}), PredictConfig(shard_size=6, batch_size=4, num_actors=2))"
    )
    return start_python(code)


@pytest.mark.slow
def test_a_killed_driver_is_rerun_to_the_same_bytes(model, tmp_path):
    samples = photographs.samples(tmp_path / "samples", {"crowd": 200, **SIZES}, SIDE)
    assert start(samples, model, tmp_path / "whole").wait() == 0
    first = start(samples, model, tmp_path / "killed")
    while len(list((tmp_path / "killed" / "maps").glob("shard-*"))) < 3:
        assert first.poll() is None
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert not (tmp_path / "killed" / "maps" / tables.MANIFEST_FILE).exists()
    assert start(samples, model, tmp_path / "killed").wait() == 0
    assert photographs.files(tmp_path / "killed" / "maps") == photographs.files(tmp_path / "whole" / "maps")
