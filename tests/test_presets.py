from pathlib import Path

import pytest
import yaml

from pipeline import demo, evaluate, index, params, predict, register, sism, train
from pipeline.layouts import Dataset

ROOT = Path(__file__).resolve().parents[1]
FILES = [ROOT / "params.yaml", *sorted((ROOT / "presets").glob("*.yaml"))]
STAGES = [demo, index, sism, train, predict, evaluate, register]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_section_of_a_params_file_is_valid(file):
    for stage in STAGES:
        params.load(stage.__name__.rpartition(".")[2], stage.Params, file)
    params.load("model", train.Network, file)
    content = yaml.safe_load(file.read_text())
    for name in content["datasets"]:
        params.load(f"datasets.{name}", Dataset, file)
    assert set(content["benchmarks"]) <= set(content["datasets"])
    assert content["train"]["dataset"] in content["datasets"]


def test_the_papers_preset_trains_as_section_4_1_says():
    knobs = params.load("train", train.Params, ROOT / "presets" / "paper.yaml")
    assert (knobs.optimiser, knobs.rate, knobs.weight_decay) == ("adam", 1e-5, 1e-4)
    assert (knobs.epochs, knobs.batch_size, knobs.flip, knobs.schedule) == (60, 10, 0.5, "constant")
    network = params.load("model", train.Network, ROOT / "presets" / "paper.yaml")
    assert (network.size, network.width, network.weights) == (224, 1.0, "torchvision")
