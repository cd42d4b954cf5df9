"""What `cosal` imports and prints, seen from outside."""

import os
import re
import subprocess
import sys
import time

import pytest
import torch

from icnet import checkpoint
from icnet.config import Config
from icnet.model import ICNet
from tests.helpers import photographs

HEAVY = ("torch", "ray", "mlflow", "matplotlib", "pyarrow", "pandas", "dvc", "scipy", "cv2", "skimage")


def run_python(code, root, folder):
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def call(*arguments):
    return (
        f"import sys; from pipeline.cli.app import app; app({list(arguments)!r}, standalone_mode=False); "
        "print('MODULES', *sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )


def list_modules(result):
    return set(re.search("MODULES (.*)", result.stderr)[1].split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    torch.manual_seed(3)
    checkpoint.save(ICNet(Config(size=64, width=0.125, init="he")), folder / "model.safetensors")
    (folder / "photos").mkdir()
    photographs.write(folder, {"apple": 3, "bear": 1})
    return folder


def test_help_imports_no_heavy_library(root, tmp_path):
    result = run_python(call("--help"), root, tmp_path)
    assert result.returncode == 0, result.stderr
    assert not list_modules(result) & set(HEAVY)


def test_predict_imports_neither_ray_nor_mlflow_and_prints_only_its_own_lines(root, folder):
    arguments = ["predict", "images", "out", "--model", "model.safetensors"]
    result = run_python(call(*arguments), root, folder)
    assert result.returncode == 0, result.stderr
    assert not list_modules(result) & {"ray", "mlflow", "matplotlib", "dvc"}
    assert result.stdout == "4 co-saliency maps of 2 groups in out\nopen out/index.html in a browser to look at them\n"
    assert [line for line in result.stderr.splitlines() if not line.startswith("MODULES")] == []


def test_a_long_run_without_a_terminal_prints_a_line_now_and_then(capsys, monkeypatch):
    from pipeline.runtime import progress

    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with progress.Progress("SISMs", 8) as counter:
        for _ in range(4):
            counter.update(1.5)
            time.sleep(0.001)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert re.fullmatch(r"SISMs: 6 of 8 images, [\d.]+ images/s, \d+ s left", lines[-1])
