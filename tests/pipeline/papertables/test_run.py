"""Tables of the paper over a pipeline of one stage: real git, real DVC, no network to train."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.papertables.checkout import WORK_FOLDER, ExperimentError, format_value
from pipeline.papertables.run import make_table

ROOT = Path(__file__).resolve().parents[3]

STAGE = """
stages:
  evaluate:
    foreach: ${benchmarks}
    do:
      cmd: python score.py ${item}
      params: [train, model, sism, predict]
      deps: [score.py, pipeline]
      metrics:
        - results/${item}/metrics.json:
            cache: false
"""
PARAMS = """
datasets:
  toys: {root: ../outside/toys}
benchmarks: [toys]   # the reader's comment
model: {size: 96}
train: {dataset: toys, epochs: 3, batch_size: 10, lr: 0.1}
sism: {method: gc}
predict: {}
evaluate: {}
"""
SCORE = """
import json, os, sys, time
from pathlib import Path
import yaml

ROOT = Path(__file__).resolve().parents[3]

params = yaml.safe_load(Path("params.yaml").read_text())
assert [file.name for file in Path(params["datasets"]["toys"]["root"]).iterdir()] == ["one.txt"]
with Path(os.environ["COUNT"]).open("a") as file:
    print(os.environ["DVC_EXP_NAME"], file=file)
time.sleep(float(os.environ.get("SLEEP", 0)))
value = params["model"].get("features", "scf") == "scf", params["train"]["batch_size"] / 100
scores = {"max_f": value[0] / 2, "s": value[1], "mae": 0.25}
sism = {**scores, "max_f": 0.25 if params["sism"]["method"] == "gc" else 0.125}
folder = Path("results") / sys.argv[1]
folder.mkdir(parents=True, exist_ok=True)
(folder / "metrics.json").write_text(json.dumps({"icnet": scores, "sism": sism, "images": 1}))
"""


def sh(folder, *command):
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    folder = tmp_path / "repository"
    (folder / "pipeline").mkdir(parents=True)
    (tmp_path / "outside" / "toys").mkdir(parents=True)
    (tmp_path / "outside" / "toys" / "one.txt").write_text("1")
    files = {
        "dvc.yaml": STAGE,
        "params.yaml": PARAMS,
        "score.py": SCORE,
        "pipeline/code.py": "",
        ".gitignore": "/data/\n/mlflow.db*\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    sh(folder, "git", "init", "-q")
    sh(folder, "git", "config", "user.name", "A Name")
    sh(folder, "git", "config", "user.email", "a@name.org")
    sh(folder, sys.executable, "-m", "dvc", "init", "-q")
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc" / "config")
    sh(folder, "git", "add", ".")
    sh(folder, "git", "commit", "-qm", "first")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COUNT", str(tmp_path / "count.txt"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


def ran(repository):
    file = repository.parent / "count.txt"
    return file.read_text().split() if file.is_file() else []


def state(repository):
    """What of the workspace may not change: every file that git does not ignore, its own view of them, the commit."""
    files = sh(repository, "git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    own = {file: (repository / file).read_bytes() for file in files if not file.startswith("results/tables/")}
    seen = [line for line in sh(repository, "git", "status", "--porcelain").splitlines() if "results" not in line]
    return own, seen, sh(repository, "git", "rev-parse", "HEAD")


def names(repository):
    return set(sh(repository, "git", "for-each-ref", "--format=%(refname:lstrip=4)", "refs/exps").split())


def test_a_table_leaves_the_workspace_alone_and_experiments_in_the_repository(repository):
    (repository / "params.yaml").write_text(PARAMS.replace("epochs: 3", "epochs: 4"))
    before = state(repository)
    result = CliRunner().invoke(
        app, ["table", "3", "--sism", "gc", "--sism", "ones", "-S", "train.batch_size=7"], catch_exceptions=False
    )
    assert state(repository) == before
    lines = result.stdout.splitlines()
    assert "GC, ICNet      0.500  0.070  0.250    0.854  0.852  0.064" in lines
    assert "ones alone     0.125  0.070  0.250        -      -      -" in lines
    assert "EGNet alone        -      -      -    0.753  0.805  0.103" in lines
    frame = pd.read_csv(repository / "results" / "tables" / "table-3.csv").set_index("line")
    assert frame.loc["ones, ICNet", ["experiment", "max_f"]].tolist() == ["table-3-2", 0.5]
    assert (repository / "results" / "tables" / "table-3.md").read_text().startswith("# Table 3. ")
    assert {"table-3-1", "table-3-2"} <= names(repository)
    kept = sh(repository, "git", "for-each-ref", "--format=%(refname)", "refs/exps/*/*/table-3-2")
    changed = sh(repository, "git", "show", f"{kept}:params.yaml")
    for text in ("method: ones", "batch_size: 7", "epochs: 4", "# the reader's comment"):
        assert text in changed


def test_a_second_table_runs_nothing_and_tables_share_experiments_of_the_same_params(repository):
    first = make_table(1).text()
    assert ran(repository) == ["table-1"]
    assert make_table(1).text() == first
    assert make_table(3, sods=["gc"]).frame()["experiment"].dropna().unique() == ["table-1"]
    assert ran(repository) == ["table-1"]
    make_table(1, ["train.lr=1e-5"])
    assert ran(repository) == ["table-1", "table-1"]
    (repository.parent / "outside" / "toys" / "one.txt").write_text("other")
    make_table(1)
    assert len(list((repository / WORK_FOLDER / "done").glob("*.json"))) == 3


@pytest.mark.slow
def test_what_is_killed_goes_on_and_nobody_runs_beside_what_is_left(repository):
    environment = {**os.environ, "SLEEP": "6", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "from pipeline.cli import app; app.main()", "table", "3"]
    child = subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)
    before = state(repository)
    while not ran(repository):
        assert child.poll() is None
        time.sleep(0.2)
    child.kill()
    child.wait()
    with pytest.raises(ExperimentError, match="another table is being made"):
        make_table(3)
    os.killpg(child.pid, signal.SIGKILL)
    assert state(repository) == before
    assert set(_when_free(make_table, 3).found) == {"table-3-1", "table-3-2"}
    assert state(repository) == before


def _when_free(make, *arguments):
    deadline = time.monotonic() + 60
    while True:
        try:
            return make(*arguments)
        except ExperimentError:
            assert time.monotonic() < deadline
            time.sleep(0.5)


def test_a_stage_that_fails_is_told_and_lines_before_it_are_kept(repository):
    (repository / "score.py").write_text(SCORE + "\nassert params['sism']['method'] != 'ones'\n")
    with pytest.raises(ExperimentError, match="table-3-2 broke off"):
        make_table(3)
    assert len(list((repository / WORK_FOLDER / "done").glob("*.json"))) == 1


def test_a_folder_without_git_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExperimentError, match="git checkout"):
        make_table(1)


def test_values_are_written_as_dvc_reads_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from dvc.utils.hydra import apply_overrides
    from dvc.utils.serialize import dump_yaml, load_yaml

    value = {"a": "it's {dataset}?a=b&c=d", "b": ["c", "d"], "e": None, "f": True, "g": 0.0001}
    dump_yaml("p.yaml", {"x": {}})
    apply_overrides("p.yaml", [f"++x.{key}={format_value(one)}" for key, one in value.items()])
    assert load_yaml("p.yaml")["x"] == value
