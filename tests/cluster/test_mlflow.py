"""Pipelines that share one MLflow server above PostgreSQL, and a server that goes away in the middle of a training.

`pytest tests/cluster/test_mlflow.py -m slow`; PostgreSQL's programs have to be installed (`apt install postgresql`).
"""

import subprocess
import time

import pytest
from mlflow.tracking import MlflowClient

from tests.cluster.database import Postgres, Server, binaries
from tests.cluster.test_cluster import EPOCHS, prepared
from tests.helpers.checkout import make_environment

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed"),
]


@pytest.fixture
def server(tmp_path):
    database = Postgres()
    database.start()
    made = Server(tmp_path, database.uri)
    made.start()
    yield made
    made.kill()
    database.stop()


def dvc(folder, server, *arguments, **variables):
    environment = make_environment(folder, MLFLOW_TRACKING_URI=server.uri, **variables)
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(["dvc", *arguments], cwd=folder, env=environment, stdout=log, stderr=log)


def runs(server):
    client = MlflowClient(server.uri, server.uri)
    experiment = client.get_experiment_by_name("icnet")
    return client, client.search_runs([experiment.experiment_id]) if experiment else []


def test_two_pipelines_log_and_register_at_the_same_time(server, root, tmp_path):
    folders = [prepared(root, tmp_path / name, seed=seed, num_workers=1) for name, seed in (("left", 1), ("right", 2))]
    both = [dvc(folder, server, "repro") for folder in folders]
    codes = [process.wait() for process in both]
    assert codes == [0, 0], "\n\n".join((folder / "log").read_text()[-3000:] for folder in folders)
    client, found = runs(server)
    trained = [run for run in found if "train.epochs" in run.data.params]
    assert [run.info.status for run in trained] == ["FINISHED", "FINISHED"]
    assert {run.data.params["train.seed"] for run in trained} == {"1", "2"}
    assert all(len(client.get_metric_history(run.info.run_id, "train/loss")) == EPOCHS for run in trained)
    assert all("demo_unseen/max_f" in run.data.metrics for run in trained)
    versions = client.search_model_versions("name = 'icnet'")
    assert sorted(str(version.version) for version in versions) == ["1", "2"]
    assert client.get_model_version_by_alias("icnet", "champion") is not None


def epochs(server):
    client, found = runs(server)
    return len(client.get_metric_history(found[0].info.run_id, "train/loss")) if found else 0


def until_epoch(number, server, training, folder):
    while epochs(server) < number:
        assert training.poll() is None, (folder / "log").read_text()[-3000:]
        time.sleep(0.5)


def whole(server, count):
    """One run, finished, with every epoch once."""
    client, found = runs(server)
    assert [run.info.status for run in found] == ["FINISHED"]
    points = client.get_metric_history(found[0].info.run_id, "train/loss")
    assert sorted(point.step for point in points) == list(range(1, count + 1))


def test_a_training_outlives_its_tracking_server(server, root, tmp_path):
    folder = prepared(root, tmp_path / "checkout", epochs=200, num_workers=1)
    training = dvc(folder, server, "repro", "train")
    until_epoch(3, server, training, folder)
    server.kill()
    time.sleep(60)
    server.start()
    assert training.wait() == 0, (folder / "log").read_text()[-3000:]
    whole(server, 200)


def test_a_training_that_ends_without_its_tracking_server_is_only_logged_by_the_next_run(server, root, tmp_path):
    folder = prepared(root, tmp_path / "checkout", epochs=20, num_workers=1)
    training = dvc(folder, server, "repro", "train", MLFLOW_HTTP_REQUEST_MAX_RETRIES="1")
    until_epoch(3, server, training, folder)
    server.kill()
    assert training.wait() != 0
    said = (folder / "log").read_text()
    assert "all epochs are trained and saved, but MLflow" in said, said[-3000:]
    history = folder / "data" / "model" / "history.csv"
    trained = history.read_bytes()
    server.start()
    assert dvc(folder, server, "repro", "train").wait() == 0, (folder / "log").read_text()[-3000:]
    whole(server, 20)
    assert history.read_bytes() == trained, "it was trained again"
