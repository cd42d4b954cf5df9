from pathlib import Path

import pytest
import yaml

from pipeline.demo.config import DemoConfig
from pipeline.evaluate.config import EvaluateConfig
from pipeline.index.config import IndexConfig
from pipeline.index.layouts import Dataset
from pipeline.predict.config import PredictConfig
from pipeline.register.config import RegisterConfig
from pipeline.runtime import params
from pipeline.sism.config import SismConfig
from pipeline.train.config import ModelConfig, TrainConfig

ROOT = Path(__file__).resolve().parents[1]
FILES = [ROOT / "params.yaml", *sorted((ROOT / "presets").glob("*.yaml"))]
SECTIONS = {
    "demo": DemoConfig,
    "index": IndexConfig,
    "sism": SismConfig,
    "model": ModelConfig,
    "train": TrainConfig,
    "predict": PredictConfig,
    "evaluate": EvaluateConfig,
    "register": RegisterConfig,
}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_section_of_a_params_file_is_valid(file):
    for name, kind in SECTIONS.items():
        params.load_section(name, kind, file)
    content = yaml.safe_load(file.read_text())
    for name in content["datasets"]:
        params.load_section(f"datasets.{name}", Dataset, file)
    assert set(content["benchmarks"]) <= set(content["datasets"])
    assert content["train"]["dataset"] in content["datasets"]


def test_the_papers_preset_trains_as_section_4_1_says():
    config = params.load_section("train", TrainConfig, ROOT / "presets" / "paper.yaml")
    assert (config.optimizer, config.lr, config.weight_decay) == ("adam", 1e-5, 1e-4)
    assert (config.epochs, config.batch_size, config.flip, config.schedule) == (60, 10, 0.5, "constant")
    network = params.load_section("model", ModelConfig, ROOT / "presets" / "paper.yaml")
    assert (network.size, network.width, network.weights) == (224, 1.0, "torchvision")
