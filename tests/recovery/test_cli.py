"""`cosal predict` is killed or interrupted, and run again."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from icnet import checkpoint
from icnet.config import Config
from icnet.model import ICNet
from tests.helpers import photographs

SIZES = {"apple": 6, "bear": 1, "chair": 12, "door": 3}
NUM_RESULTS = sum(SIZES.values()) + len(SIZES) + 3
"""Maps, contact sheets, scores, rejects and the page; thumbnails are not counted."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cosal")
    torch.manual_seed(3)
    checkpoint.save(ICNet(Config(size=64, width=0.125, init="he")), folder / "model.safetensors")
    photographs.write(folder, SIZES)
    assert start(folder).wait() == 0
    assert len([name for name in read_results(folder / "out") if not name.startswith("index_files/")]) == NUM_RESULTS
    return folder


@pytest.fixture
def copy(folder, tmp_path):
    """The same photographs and model in another folder, without results; relative paths are the same."""
    shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns("out"))
    return tmp_path / "copy"


def start(folder, **options):
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    root = Path(__file__).parents[2]
    environment |= {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    code = "from pipeline.cli.app import main; main()"
    command = [sys.executable, "-c", code, "predict", "images", "out", "--model", "model.safetensors", "--batch", "4"]
    options |= {"cwd": folder, "env": environment, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, preexec_fn=accept_interrupts, **options)


def accept_interrupts():
    """A shell starts background jobs with SIGINT ignored, and children inherit this."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def read_results(out):
    return {name: data for name, data in photographs.files(out).items() if not name.startswith(".cosal/")}


def wait_for(process, condition):
    while not condition():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)


MOMENTS = {
    "the index is written": lambda out: (out / ".cosal" / "index" / "manifest.json").exists(),
    "the first SISMs are written": lambda out: any(out.glob(".cosal/groups/*/samples/shard-*")),
    "the first maps are written": lambda out: any(out.glob("*/*.png")),
}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_after_an_interruption_ends_with_the_same_bytes(folder, copy, moment, number):
    out = copy / "out"
    process = start(copy, start_new_session=True)
    wait_for(process, lambda: MOMENTS[moment](out))
    process.send_signal(number)
    assert process.wait(timeout=60) != 0
    assert "Traceback" not in process.stderr.read()
    assert start(copy).wait() == 0
    assert read_results(out) == read_results(folder / "out")
    assert not [file for file in out.rglob("*") if file.suffix == ".part"]


@pytest.mark.slow
def test_the_maps_of_the_first_group_are_written_before_the_last_group_is_computed(copy):
    out = copy / "out"
    process = start(copy)
    wait_for(process, lambda: (out / "apple" / "0005.png").exists())
    process.kill()
    process.wait()
    assert len(list(out.glob("*/*.png"))) < sum(SIZES.values())
