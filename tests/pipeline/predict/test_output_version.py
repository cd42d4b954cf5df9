"""The maps of fixed inputs, recorded in golden.json.

If this test fails because maps are meant to change, increase OUTPUT_VERSION in pipeline/predict/plan.py, so that shards
of older versions are predicted again, and record the new maps: python -m tests.pipeline.predict.test_output_version
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import torch

from icnet import checkpoint, images
from icnet.config import Config
from icnet.model import ICNet
from pipeline import tables
from pipeline.predict.config import PredictConfig
from pipeline.predict.maps import MapsJob
from pipeline.predict.plan import OUTPUT_VERSION
from pipeline.runtime.threads import ThreadExecutor, ThreadPool
from tests.helpers import photographs

FILE = Path(__file__).with_name("golden.json")
ROUNDING = 3
"""Gray levels: processors round differently."""


def compute_means(folder):
    """The mean gray level of each of 4 x 4 cells of each map."""
    torch.manual_seed(3)
    checkpoint.save(ICNet(Config(size=64, width=0.125, init="he")), folder / "model.safetensors")
    samples = photographs.samples(folder / "samples", {"apple": 5, "bear": 1, "chair": 7}, 64)
    config = PredictConfig(shard_size=6, batch_size=4)
    job = MapsJob(samples, folder / "model.safetensors", folder / "maps", folder / "work", config)
    with ThreadPool(1) as pool:
        job.run(ThreadExecutor(pool))
    means = {}
    for row in tables.read_table(folder / "maps").to_pylist():
        map_ = images.resize(images.decode_gray(row["map"]), (64, 64)).reshape(4, 16, 4, 16)
        means[f"{row['group']}/{row['name']}"] = map_.mean(axis=(1, 3)).round(1).tolist()
    return means


def test_maps_change_only_with_the_output_version(tmp_path):
    golden = json.loads(FILE.read_text())
    assert golden["output_version"] == OUTPUT_VERSION, f"record the new maps: see {__file__}"
    means = compute_means(tmp_path)
    assert means.keys() == golden["maps"].keys()
    for key, expected in golden["maps"].items():
        difference = np.abs(np.subtract(means[key], expected)).max()
        assert difference <= ROUNDING, f"maps changed ({key}) but OUTPUT_VERSION did not: see {__file__}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        content = {"output_version": OUTPUT_VERSION, "maps": compute_means(Path(temporary))}
    FILE.write_text(json.dumps(content) + "\n")
