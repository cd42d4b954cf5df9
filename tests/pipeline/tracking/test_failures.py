"""MLflow servers that fail, do not answer, or ask for a password."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline import tracking
from tests.helpers import servers

ROOT = Path(__file__).resolve().parents[3]

LOG = "from pipeline import tracking\nwith tracking.start_run('x') as run: run.log_metrics({'x': 1.0})\n"
GUARDED = f"with tracking.translate_errors(tracking.find_server(), 'run again'):\n    {LOG.splitlines()[1]}"


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory):
    """The port of a real server that stores artifacts itself."""
    with servers.run_mlflow(tmp_path_factory.mktemp("server")) as port:
        yield port


@pytest.fixture(autouse=True)
def fast(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.chdir(tmp_path)


def run_code(code, uri, **variables):
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


def test_an_artifact_is_absent_only_if_the_store_says_so(mlflow_server, tmp_path, monkeypatch):
    failing = set()
    (tmp_path / "note.txt").write_text("kept")
    with servers.run_failing_proxy(mlflow_server, failing) as port:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        with tracking.start_run("files") as run:
            run.log_file(tmp_path / "note.txt", "notes")
        assert run.fetch_file("notes/note.txt", tmp_path / "back").read_text() == "kept"
        assert run.fetch_file("notes/other.txt", tmp_path / "back") is None
        assert run.fetch_file("nowhere/other.txt", tmp_path / "back") is None
        assert tracking.Run("0" * 32, run.server).fetch_file("notes/note.txt", tmp_path / "back") is None
        for part in ("mlflow-artifacts", "runs/get"):
            failing.add(part)
            with pytest.raises(tracking.TrackingError, match="run the stage again"):
                run.fetch_file("notes/note.txt", tmp_path / "back")
            failing.clear()


def test_a_server_that_does_not_answer_is_given_up_with_one_sentence():
    with servers.run_silent_server() as port:
        done = run_code(f"from pipeline import tracking\n{GUARDED}", f"http://127.0.0.1:{port}")
    assert "pipeline.tracking.errors.TrackingError: MLflow at http://127.0.0.1:" in done.stderr
    assert done.stderr.rstrip().endswith(": run again")


def test_attempts_are_limited_unless_the_user_sets_other_limits():
    code = "import os\nfrom pipeline import tracking\nprint(os.environ['MLFLOW_HTTP_REQUEST_MAX_RETRIES'])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    del environment["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]
    for given, expected in (({}, 3), ({"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "7"}, 7)):
        done = subprocess.run([sys.executable, "-c", code], env=environment | given, capture_output=True, text=True)
        assert int(done.stdout) == expected


def test_user_and_password_are_used_but_never_printed(mlflow_server):
    code = LOG + "import os; print(run.server, os.environ['MLFLOW_TRACKING_USERNAME'], run.read_tags())"
    done = run_code(code, f"http://some%40one:p%40ss%3Aword@127.0.0.1:{mlflow_server}")
    assert done.returncode == 0, done.stderr
    assert f"http://127.0.0.1:{mlflow_server} some@one" in done.stdout
    assert "View run" in done.stdout
    assert "p@ss" not in done.stdout + done.stderr and "p%40ss" not in done.stdout + done.stderr


def test_passwords_are_hidden_in_errors_of_databases():
    for password in ("p", "p/q", ""):
        assert tracking.hide_password(f"postgresql://me:{password}@db:5432/x failed") == "postgresql://db:5432/x failed"
    assert tracking.hide_password("http://db:5000 failed") == "http://db:5000 failed"
    done = run_code(f"from pipeline import tracking\n{GUARDED}", "mysql+nothing://me:hidden@localhost/x")
    assert done.returncode == 1 and "hidden" not in done.stderr.rsplit("TrackingError", 1)[1]


@pytest.mark.parametrize("names", [("größe", "gröſe"), ("a" * 180 + "1", "a" * 180 + "2"), ("a:b", "a_b")])
def test_images_of_different_groups_never_replace_each_other(names, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    with tracking.start_run("panels") as run:
        for name in names:
            for _ in range(2):
                run.log_image(np.zeros((4, 4, 3), np.uint8), f"val/panel/{name}", step=3)
    found = [file.path for file in tracking.get_client(run.server).list_artifacts(run.id, "images")]
    assert sum(path.endswith(".png") for path in found) == 2


def test_a_run_keeps_numbers_that_are_not_finite(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    with tracking.start_run("nan") as run:
        run.log_metrics({"nan": float("nan"), "inf": float("inf"), "fine": 1.0})
    metrics = tracking.get_client(run.server).get_run(run.id).data.metrics
    assert np.isnan(metrics["nan"]) and metrics["inf"] > 1e300 and metrics["fine"] == 1
