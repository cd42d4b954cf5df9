import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from pipeline import tracking
from tests.helpers import servers


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture(autouse=True)
def place(address, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.chdir(tmp_path)


def read(run):
    return tracking.get_client(run.server).get_run(run.id)


def files(run, folder=None):
    return [file.path for file in tracking.get_client(run.server).list_artifacts(run.id, folder)]


def test_a_run_that_ends_well_is_finished_and_holds_what_was_logged():
    data = tracking.DataSource("demo", "data/demo", "0123", "training", 120, 10)
    with tracking.start_run("first", {"train": {"learning_rate": 0.001}}, {"note": 1}, [data]) as run:
        run.log_metrics({"val/max_f": 0.5}, step=1)
        run.log_metrics({"val/max_f": 0.75}, step=2)
    found = read(run)
    assert found.info.status == "FINISHED"
    assert found.data.params == {"train.learning_rate": "0.001"}
    assert found.data.metrics == {"val/max_f": 0.75}
    assert found.data.tags["note"] == "1"
    assert [(one.dataset.name, one.dataset.digest) for one in found.inputs.dataset_inputs] == [("demo", "0123")]


@pytest.mark.parametrize("error, status", [(RuntimeError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_run_that_fails_gets_the_status(error, status):
    with pytest.raises(error), tracking.start_run("broken") as run:
        raise error
    assert read(run).info.status == status


def test_a_run_is_resumed_where_the_server_knows_it():
    with pytest.raises(RuntimeError), tracking.start_run("twice", {"train": {"epochs": 2}}) as first:
        raise RuntimeError
    with tracking.start_run("twice", {"train": {"epochs": 2}}, resume=first.id) as second:
        assert read(second).info.status == "RUNNING"
    assert second.id == first.id
    with tracking.start_run("elsewhere", resume="0" * 32) as third:
        pass
    assert third.id != "0" * 32


def test_a_later_stage_finds_the_run_of_the_training():
    with tracking.start_run("train") as run:
        pass
    again = tracking.reopen_run(run.id)
    again.log_metrics({"demo/max_f": 0.9})
    assert again == run and read(run).info.status == "FINISHED"


def test_a_run_that_the_server_does_not_know_is_replaced_by_one_run():
    first, second = tracking.reopen_run("f" * 32), tracking.reopen_run("f" * 32)
    assert first == second
    assert read(first).data.tags[tracking.RESTORED] == "f" * 32
    assert tracking.reopen_run(None) != first


def test_pictures_and_tables_logged_again_are_replaced():
    with tracking.start_run("again") as run:
        for value in (0, 255):
            run.log_image(np.full((4, 4, 3), value, np.uint8), "demo/größe", step=3)
            run.log_table(pd.DataFrame({"group": ["a"], "max_f": [value]}), "demo/groups.json")
        run.log_image(np.zeros((4, 4), np.uint8), "demo/größe", step=4)
    assert sum(name.endswith(".png") for name in files(run, "images")) == 2
    table = tracking.get_client(run.server).load_table("1", "demo/groups.json", [run.id])
    assert table["max_f"].tolist() == [255]


def test_more_parameters_than_one_request_takes_are_all_logged():
    with tracking.start_run("many", {"section": {f"key{n}": n for n in range(150)}}) as run:
        run.log_metrics({f"m/{n}": n for n in range(1500)})
    assert len(read(run).data.params) == 150 and len(read(run).data.metrics) == 1500


def test_files_come_back_and_absent_ones_are_none(tmp_path):
    (tmp_path / "note.txt").write_text("kept")
    with tracking.start_run("files") as run:
        run.log_file(tmp_path / "note.txt", "notes")
    assert run.fetch_file("notes/note.txt", tmp_path / "back").read_text() == "kept"
    assert run.fetch_file("notes/other.txt", tmp_path / "back") is None


def test_a_run_can_be_used_in_other_processes(address):
    with tracking.start_run("travel") as run:
        code = f"import pickle; pickle.loads({pickle.dumps(run)!r}).log_metrics({{'far': 1.0}}, 7)"
        subprocess.run([sys.executable, "-c", code], check=True, cwd="/")
    assert read(run).data.metrics["far"] == 1.0


def test_a_run_names_its_commit_and_its_dvc_experiment(monkeypatch, root):
    monkeypatch.setenv("DVC_EXP_NAME", "wide-net")
    monkeypatch.chdir(root)
    with tracking.start_run("origin") as run:
        pass
    tags = read(run).data.tags
    assert tags["dvc.exp_name"] == "wide-net"
    assert len(tags["mlflow.source.git.commit"]) == 40 and tags["git.dirty"] in ("true", "false")


def test_system_metrics_are_logged_if_asked_for():
    with tracking.start_run("system", system_metrics=True) as run:
        pass
    assert read(run).info.status == "FINISHED"


def test_without_a_server_everything_is_in_the_repository(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(tmp_path / "temporary")
    assert tracking.find_server() == f"sqlite:///{tmp_path / 'mlflow.db'}"


def test_several_processes_may_create_the_database(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'new.db'}")
    code = "from pipeline import tracking\nwith tracking.start_run('first') as run: run.log_metrics({'x': 1.0})"
    started = [subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path) for _ in range(2)]
    assert [process.wait() for process in started] == [0, 0]
    client = tracking.get_client(tracking.find_server())
    assert len([one for one in client.search_experiments() if one.name == tracking.EXPERIMENT]) == 1
    assert len(client.search_runs([client.get_experiment_by_name(tracking.EXPERIMENT).experiment_id])) == 2


@pytest.mark.slow
def test_a_server_replaces_the_local_database(tmp_path, monkeypatch):
    with servers.run_mlflow(tmp_path / "server") as port:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        with tracking.start_run("far", {"train": {"lr": 0.1}}) as run:
            for value in (0, 255):
                run.log_image(np.full((4, 4, 3), value, np.uint8), "demo/sheet")
                run.log_table(pd.DataFrame({"max_f": [value]}), "demo/groups.json")
            run.log_metrics({"demo/max_f": 0.5})
        assert run.server.startswith("http://") and read(run).info.status == "FINISHED"
        assert sum(name.endswith(".png") for name in files(run, "images")) == 1
        experiment = read(run).info.experiment_id
        table = tracking.get_client(run.server).load_table(experiment, "demo/groups.json", [run.id])
        assert table["max_f"].tolist() == [255]
        assert tracking.reopen_run(run.id) == run and tracking.reopen_run("e" * 32) != run
