"""Every stage with every backbone: only the options in section `model` differ."""

import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml

from icnet import checkpoint, images
from pipeline import tables
from pipeline.demo.config import DemoConfig
from pipeline.demo.stage import write_collection
from pipeline.evaluate.stage import main as evaluate
from pipeline.index.stage import main as index
from pipeline.predict.stage import main as predict
from pipeline.register.stage import main as register
from pipeline.sism.stage import main as sism
from pipeline.train.stage import main as train
from tests.icnet.networks import FULL, VGG16

TRAIN = {"dataset": "toys", "epochs": 1, "batch_size": 3, "lr": 1e-3, "use_gpu": False, "validation": 0.34}
STORED = {"store_features": True, "sampling": "groups", "min_batch_size": 2}
BACKBONES = {"vgg16": (VGG16, TRAIN), "dinov2_vits14": (FULL, TRAIN | STORED)}


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    """The demo's benchmark: six groups of three images, and a damaged file."""
    folder = tmp_path_factory.mktemp("drawn")
    write_collection(folder / "demo", DemoConfig(categories=6, images=2, unseen_images=3))
    return folder / "demo" / "unseen"


@pytest.fixture(params=BACKBONES)
def finished(request, toys, tmp_path, monkeypatch, ray_session):
    """A folder in which all stages ran with a backbone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    network, training = BACKBONES[request.param]
    content = {
        "datasets": {"toys": {"root": str(toys)}},
        "benchmarks": ["toys"],
        "storage": None,
        "index": {},
        "sism": {"method": "gc"},
        "model": network | ({"depths": list(network["depths"])} if "depths" in network else {}),
        "train": training,
        "predict": {},
        "evaluate": {"resamples": 10, "num_panels": 1},
        "register": {"resamples": 100},
    }
    Path("params.yaml").write_text(yaml.safe_dump(content))
    data, results = Path("data"), Path("results")
    listed, samples, maps = (data / kind / "toys" for kind in ("index", "samples", "maps"))
    index("toys", listed)
    sism(listed, samples)
    train(data / "samples", data / "model")
    predict(listed, samples, data / "model" / "model.safetensors", maps, data / "work")
    evaluate(listed, samples, maps, data / "model", results / "toys")
    register(data / "model", results, data / "registered.json")
    return request.param


@pytest.mark.slow
def test_all_stages_run_with_the_backbone_and_the_registered_model_gives_the_same_maps(finished):
    assert checkpoint.load("data/model/model.safetensors").config.backbone == finished
    rows = tables.read_table(Path("data/maps/toys")).to_pylist()
    group = [row for row in rows if row["group"] == rows[0]["group"]]
    listed = tables.read_table(Path("data/index/toys")).to_pylist()
    files = {row["name"]: row["image"] for row in listed if row["group"] == group[0]["group"]}
    root = Path(tables.load_manifest(Path("data/index/toys"))["root"])
    scores = json.loads(Path("results/toys/metrics.json").read_text())
    assert all(0 < scores[method]["max_f"] <= 1 for method in ("icnet", "sism"))
    registered = json.loads(Path("data/registered.json").read_text())
    photographs = pd.DataFrame({"image": [(root / files[row["name"]]).read_bytes() for row in group]})
    model = mlflow.pyfunc.load_model(f"models:/{registered['name']}/{registered['version']}")
    served = model.predict(photographs)["map"]
    for row, found in zip(group, served, strict=True):
        difference = images.decode_gray(row["map"]).astype(int) - images.decode_gray(found).astype(int)
        assert np.abs(difference).max() <= 1, row["name"]
