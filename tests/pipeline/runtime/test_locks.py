import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from pipeline.runtime.locks import LockedError, lock_output

HOLD = "import sys, time; from pathlib import Path; from pipeline.runtime.locks import lock_output\n"
HOLD += "with lock_output(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_writer_is_told_who_holds_the_output(tmp_path, holder):
    year = time.strftime("%Y")
    sentence = f"out is being written by process {holder.pid} on {socket.gethostname()} since {year}-"
    with pytest.raises(LockedError, match=sentence), lock_output(tmp_path / "out"):
        pass


def test_the_lock_of_a_killed_process_is_free(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with lock_output(tmp_path / "out"):
        assert json.loads((tmp_path / ".out.lock").read_text())["pid"] == os.getpid()


def test_a_lock_is_free_after_its_block_also_after_an_error(tmp_path):
    with pytest.raises(ValueError), lock_output(tmp_path / "out"):
        raise ValueError
    with lock_output(tmp_path / "out"), lock_output(tmp_path / "other"), pytest.raises(LockedError):
        lock_output(tmp_path / "out").__enter__()


def test_the_output_itself_is_not_made_or_changed(tmp_path):
    with lock_output(tmp_path / "deep" / "out"):
        assert [file.name for file in (tmp_path / "deep").iterdir()] == [".out.lock"]


@pytest.mark.parametrize(
    ("command", "output"),
    [
        (["index", "a", "out"], "out"),
        (["train", "samples", "out"], "out"),
        (["register", "model", "results", "out.json"], "out.json"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_stage_whose_output_is_being_written_is_one_sentence_and_writes_nothing(root, tmp_path, command, output):
    (tmp_path / "params.yaml").write_text(
        "datasets: {a: {root: x}}\nindex:\ntrain:\nmodel:\nsism: {}\nregister:\nbenchmarks: []"
    )
    with lock_output(tmp_path / output):
        made = subprocess.run(
            [sys.executable, "-m", f"pipeline.{command[0]}", *command[1:]],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True,
        )  # fmt: skip
    assert made.returncode == 1 and "Traceback" not in made.stderr
    assert f"is being written by process {os.getpid()} on {socket.gethostname()}" in made.stderr
    assert {file.name for file in tmp_path.iterdir()} == {"params.yaml", f".{output}.lock"}
