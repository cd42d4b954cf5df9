"""Processes that die on one photograph: it becomes a reject, and the others are computed. The processes are real."""

import os
import signal

import pytest
import torch

from icnet import checkpoint
from icnet.config import Config
from icnet.model import ICNet
from pipeline import tables
from pipeline.predict import maps as predict_job
from pipeline.predict.actors import MapsActor
from pipeline.predict.config import PredictConfig
from pipeline.predict.stage import predict_maps
from pipeline.predict.writing import WriteMaps
from pipeline.runtime import crashes
from pipeline.runtime.executor import Work
from pipeline.runtime.stream import RayExecutor, StreamError
from pipeline.sism import samples as sism_job
from pipeline.sism.config import SismConfig
from pipeline.sism.stage import make_samples
from pipeline.sism.worker import DetectSaliency, ReadImages
from tests.helpers import photographs

pytestmark = pytest.mark.slow

SIZE = 32
SIZES = {"apple": 4, "bear": 6}
LETHAL = "bear", "0001"
CONFIG = SismConfig(method="gc", shard_size=4, batch_size=2)


def die_with(keys):
    if LETHAL in keys:
        os.kill(os.getpid(), signal.SIGKILL)


class LethalMethod(DetectSaliency):
    def _detect(self, batch):
        die_with([image.key for image in batch])
        return super()._detect(batch)


class LethalReader(ReadImages):
    def _read(self, row):
        die_with([(row["group"], row["name"])])
        return super()._read(row)


class LethalMaps(MapsActor):
    def _predict_subgroups(self, batch):
        die_with([(row["group"], row["name"]) for rows in batch.subgroups for row in rows])
        return super()._predict_subgroups(batch)


class LethalWriter(WriteMaps):
    def _make_row(self, small):
        die_with([(small["group"], small["name"])])
        return super()._make_row(small)


class MortalTogether(DetectSaliency):
    """Dies with a shard of more than two images, as where memory runs out."""

    def __call__(self, task):
        if len(task.get("skip", {})) < 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(task)


class Immortal(DetectSaliency):
    def __call__(self, task):
        raise ValueError("an error in the code")


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collection")
    root = photographs.write(folder / "photos", SIZES)
    return root, photographs.index(root, folder / "index")


@pytest.fixture
def without(collection, ray_session, tmp_path):
    """Samples of the same collection without the photograph."""
    root = photographs.write(tmp_path / "others", SIZES)
    (root / "images" / LETHAL[0] / f"{LETHAL[1]}.png").unlink()
    make_samples(photographs.index(root, tmp_path / "index"), tmp_path / "without", CONFIG, SIZE)
    return tables.read_table(tmp_path / "without").to_pylist()


@pytest.mark.parametrize(("name", "part"), [("DetectSaliency", LethalMethod), ("ReadImages", LethalReader)])
def test_a_photograph_that_kills_its_process_is_a_reject_and_the_others_are_computed(
    collection, without, ray_session, monkeypatch, tmp_path, name, part
):
    make_samples(collection[1], tmp_path / "undisturbed", CONFIG, SIZE)
    monkeypatch.setattr(sism_job, name, part)
    make_samples(collection[1], tmp_path / "samples", CONFIG, SIZE)
    assert tables.read_table(tmp_path / "samples").to_pylist() == without
    (reject,) = tables.read_rejects(tmp_path / "samples").to_pylist()
    assert (reject["path"], reject["stage"], reject["error"]) == ("images/bear/0001.png", "sism", "WorkerDiedError")
    assert reject["reason"] == f"its process died {crashes.MAX_DEATHS} times: out of memory, or a crash in a library"
    files, others = (photographs.files(tmp_path / folder) for folder in ("samples", "undisturbed"))
    same = {file for file in others if file.startswith("shard-") and files[file] == others[file]}
    assert same == {"shard-000000.parquet", "shard-000002.parquet"}


@pytest.mark.parametrize(
    ("step", "lethal"),
    [("MapsActor", LethalMaps), pytest.param("WriteMaps", LethalWriter, marks=pytest.mark.slow)],
)
def test_a_photograph_that_kills_the_prediction_is_a_reject_and_the_others_get_maps(
    collection, ray_session, monkeypatch, tmp_path, capsys, step, lethal
):
    torch.manual_seed(3)
    model = tmp_path / "model.safetensors"
    checkpoint.save(ICNet(Config(size=SIZE, width=0.125, init="he")), model)
    make_samples(collection[1], tmp_path / "samples", CONFIG, SIZE)
    monkeypatch.setattr(predict_job, step, lethal)
    config = PredictConfig(shard_size=6, batch_size=4)
    predict_maps(tmp_path / "samples", model, tmp_path / "maps", tmp_path / "work", config)
    found = {(row["group"], row["name"]) for row in tables.read_table(tmp_path / "maps").to_pylist()}
    rows = tables.read_table(tmp_path / "samples").to_pylist()
    assert {(row["group"], row["name"]) for row in rows} - found == {LETHAL}
    (reject,) = tables.read_rejects(tmp_path / "maps").to_pylist()
    assert (reject["path"], reject["stage"]) == ("bear/0001", "predict")
    assert "bear/0001" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("part", "error", "message"),
    [
        (MortalTogether, StreamError, r"the 4 images images/\w+/\d+\.png to .* dies .* make shards smaller"),
        (Immortal, RuntimeError, r"(?s)a worker failed:.*ValueError: an error in the code"),
    ],
)
def test_what_is_not_in_one_photograph_ends_the_stage(
    collection, ray_session, monkeypatch, tmp_path, part, error, message
):
    monkeypatch.setattr(sism_job, "DetectSaliency", part)
    with pytest.raises(error, match=message):
        make_samples(collection[1], tmp_path / "samples", CONFIG, SIZE)
    assert not (tmp_path / "samples" / tables.MANIFEST_FILE).exists()


class AlwaysLethal:
    def __init__(self):
        pass

    def __call__(self, task):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_run_ends_where_too_many_photographs_kill_their_process(ray_session, monkeypatch):
    monkeypatch.setattr(crashes, "MAX_IMAGES", 2)
    monkeypatch.setattr(crashes, "MAX_DEATHS", 1)
    shards, executor, work = [tables.Shard(0, 0, 4, "key")], RayExecutor(), Work(dict, AlwaysLethal, {})
    pool = executor.plan_actors(1, None, wants_gpu=False)
    with pytest.raises(StreamError, match="processes died with 3 images, the last is row 2"):
        executor.process_shards(shards, work, pool, "maps", lambda row: f"row {row}")
    with pytest.raises(StreamError, match="row 0: its process died 1 times"):
        executor.process_shards(shards, work, pool, "maps", lambda row: f"row {row}", False)
