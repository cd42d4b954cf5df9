"""The demo on a cluster of four machines, three of which die, one in each stage that computes.

`pytest tests/cluster -m cluster` as root; it takes about ten minutes on two cores.
"""

import os
import shutil
import subprocess
import sys
import time

import pandas as pd
import pytest
import yaml
from safetensors.torch import load_file

from pipeline import tables
from tests.cluster import machines
from tests.helpers import objectstore
from tests.helpers.checkout import change_params, clone, make_environment

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces take root"),
]

EPOCHS = 40
SETTINGS = {
    "demo": {"categories": 8, "images": 5, "unseen_images": 5},
    "sism": {"shard_size": 2, "batch_size": 2},
    "model": {"size": 64, "width": 0.125},
    "train": {"epochs": EPOCHS, "num_workers": 2, "batch_size": 5, "panels_every": EPOCHS},
    "predict": {"shard_size": 5, "batch_size": 2},
}
STORAGE = f"s3://{objectstore.BUCKET}/runs"
CLOCKS = ["images_per_s", "wait_share", "memory_gb", "seconds"]
"""Columns of history.csv that no two trainings share."""


def prepared(root, target, uri=None, **train):
    folder = clone(root, target)
    change_params(folder, **{**SETTINGS, "train": {**SETTINGS["train"], **train}}, storage=uri)
    return folder


def shards(folder):
    """Every shard of a table in the order of its rows, as bytes."""
    place = tables.find_store(folder)
    return [place.open_file(entry["file"]).read() for entry in tables.load_manifest(folder)["shards"]]


def count(folder, uri):
    return len(tables.open_store(tables.resolve_address(folder, uri)).list_files())


def model(folder):
    history = pd.read_csv(folder / "data" / "model" / "history.csv").drop(columns=CLOCKS)
    return load_file(folder / "data" / "model" / "model.safetensors"), history


@pytest.fixture(scope="module")
def alone(root, tmp_path_factory):
    """The same demo on one machine, up to the model."""
    folder = prepared(root, tmp_path_factory.mktemp("alone") / "checkout")
    environment = make_environment(folder)
    subprocess.run(["dvc", "repro", "train", "sism@demo_unseen"], cwd=folder, env=environment, check=True)
    return folder, environment


def drawn(alone, folder):
    """The same photographs: what stage demo draws may differ between machines in the last bit of a pixel."""
    shutil.copytree(alone / "data" / "demo", folder / "data" / "demo")
    lock = yaml.safe_load((alone / "dvc.lock").read_text())
    lock["stages"] = {"demo": lock["stages"]["demo"]}
    (folder / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))


@pytest.fixture(params=["shared disk", "object store"])
def cluster(request, root, alone, tmp_path, monkeypatch):
    """A started cluster, its checkout, where samples and maps lie, and the store that holds them."""
    far = "object" in request.param
    folder = prepared(root, tmp_path / "checkout", STORAGE if far else None)
    drawn(alone[0], folder)
    made = machines.Cluster(tmp_path / "logs", folder, 3, objectstore.ENVIRONMENT if far else {})
    try:
        if not far:
            made.start()
            yield made, folder, None
            return
        with objectstore.Store(tmp_path / "store", f"{machines.NETWORK}.254") as store:
            monkeypatch.setenv("AWS_ENDPOINT_URL", store.endpoint)
            tables.open_store.cache_clear()
            made.start()
            yield made, folder, store
    finally:
        made.stop()


class Job:
    """A submitted job, and what is waited for while it runs."""

    def __init__(self, cluster, **variables):
        self.log = cluster.folder / "job.log"
        self.process = cluster.submit("job.log", **variables)

    def epochs(self):
        return self.log.read_text().count("train: epoch ")

    def until(self, there, seconds=1200):
        for _ in range(seconds * 5):
            if there():
                return
            assert self.process.poll() is None, f"the job ended early:\n{self.log.read_text()[-4000:]}"
            time.sleep(0.2)
        raise AssertionError(f"waited in vain:\n{self.log.read_text()[-4000:]}")


def test_the_pipeline_outlives_a_machine_in_each_stage_and_ends_as_on_one(alone, cluster):
    made, folder, store = cluster
    data = folder / "data"
    uri = STORAGE if store else None
    job = Job(made, **({"AWS_ENDPOINT_URL": store.endpoint} if store else {}))

    samples = data / "samples" / "demo_train"
    job.until(lambda: (data / "index" / "demo_unseen" / "manifest.json").exists() and count(samples, uri) >= 3)
    victim = next(machine for machine in made.workers if machine.runs("MapWorker"))
    victim.kill()
    assert not (samples / "manifest.json").exists(), "sism was over before the machine died"
    if store:
        store.kill()
        time.sleep(10)
        store.start()
    job.until((samples / "manifest.json").exists)
    made.join(victim)

    job.until(lambda: job.epochs() >= 3)
    victim = next(machine for machine in made.workers if machine.runs("RayTrainWorker"))
    victim.kill()
    assert job.epochs() < EPOCHS, "training was over before the machine died"
    job.until((data / "model" / "run.json").exists)
    made.join(victim)

    maps = data / "maps" / "demo_unseen"
    job.until(lambda: count(maps, uri) >= 1)
    victim = next(machine for machine in made.workers if machine.runs("MapWorker"))
    victim.kill()
    assert not (maps / "manifest.json").exists(), "predict was over before the machine died"
    assert job.process.wait(timeout=600) == 0, job.log.read_text()[-4000:]
    assert "register:" in job.log.read_text(), "the job's output was not shown"

    same_tables_and_model(alone, folder)


def same_tables_and_model(alone, folder):
    """Samples byte for byte, the model weight for weight, the maps byte for byte where the model is one."""
    single, environment = alone
    for name in ("demo_train", "demo_unseen"):
        assert shards(folder / "data" / "samples" / name) == shards(single / "data" / "samples" / name)
    (weights, history), (expected, expected_history) = model(folder), model(single)
    assert all(weights[name].equal(tensor) for name, tensor in expected.items())
    pd.testing.assert_frame_equal(history, expected_history, check_exact=True)
    shutil.copyfile(folder / "data" / "model" / "model.safetensors", single / "data" / "model.safetensors")
    places = ("index/demo_unseen", "samples/demo_unseen", "model.safetensors", "maps/again", "work/predict/again")
    command = [sys.executable, "-m", "pipeline.predict", *(f"data/{place}" for place in places)]
    shutil.rmtree(single / "data" / "maps", ignore_errors=True)
    subprocess.run(command, cwd=single, env=environment, check=True)
    assert shards(folder / "data" / "maps" / "demo_unseen") == shards(single / "data" / "maps" / "again")


def test_a_job_fails_with_its_pipeline_and_nobody_joins_without_the_token(tmp_path, root):
    folder = prepared(root, tmp_path / "checkout")
    made = machines.Cluster(tmp_path / "logs", folder, 1)
    try:
        made.start()
        stage = made.head.run(f"env RAY_ADDRESS={made.address} dvc repro sism@demo_unseen", "direct.log")
        assert stage.wait(timeout=600) == 0, (tmp_path / "logs" / "direct.log").read_text()[-3000:]
        assert tables.load_manifest(folder / "data" / "samples" / "demo_unseen")["rows"] == 30

        text = (folder / "params.yaml").read_text()
        (folder / "params.yaml").write_text(text.replace("categories: 8", "categorie: 8"))
        job = Job(made)
        assert job.process.wait(timeout=300) != 0
        assert "unknown key `demo.categorie`" in job.log.read_text()

        made.head.environment["RAY_AUTH_TOKEN"] = "0" * 64
        job = Job(made)
        assert job.process.wait(timeout=300) != 0
        assert "authentication" in job.log.read_text().rpartition("demo.categorie")[2].lower()
    finally:
        made.stop()
