"""params.yaml and the presets: every value is valid, and each preset is what its name promises."""

import shutil
from pathlib import Path

import pytest
import yaml

from icnet.config import Config
from pipeline.cli.preset import apply_preset
from pipeline.cli.sections import SECTIONS
from pipeline.index.layouts import Dataset
from pipeline.runtime import params
from pipeline.train.config import ModelConfig, TrainConfig

ROOT = Path(__file__).resolve().parents[1]
PRESETS = sorted((ROOT / "presets").glob("*.yaml"))


@pytest.fixture
def applied(tmp_path):
    """Make params.yaml from a preset, in a folder of the test."""

    def make(preset):
        file = tmp_path / "params.yaml"
        shutil.copyfile(ROOT / "params.yaml", file)
        apply_preset(preset, file)
        return file

    return make


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.stem)
def test_every_section_is_valid_after_a_preset(preset, applied):
    file = applied(preset)
    for name, kind in SECTIONS.items():
        params.load_section(name, kind, file)
    content = yaml.safe_load(file.read_text())
    for name in content["datasets"]:
        params.load_section(f"datasets.{name}", Dataset, file)
    assert set(content["benchmarks"]) <= set(content["datasets"])
    assert set(params.load_section("train", TrainConfig, file).datasets) <= set(content["datasets"])


def test_the_demo_preset_is_params_yaml_as_it_is_checked_in(applied):
    assert applied(ROOT / "presets" / "demo.yaml").read_text() == (ROOT / "params.yaml").read_text()


def test_the_paper_preset_trains_as_section_4_1_describes(applied):
    file = applied(ROOT / "presets" / "paper.yaml")
    config = params.load_section("train", TrainConfig, file)
    assert (config.optimizer, config.lr, config.weight_decay) == ("adam", 1e-5, 1e-4)
    assert (config.epochs, config.batch_size, config.flip, config.schedule) == (60, 10, 0.5, "constant")
    assert config.validation == 0, "the paper keeps no group for validation"
    assert config.freeze == [] and config.ema_decay is None and config.sism_noise == 0
    network = params.load_section("model", ModelConfig, file)
    assert (network.size, network.width, network.weights) == (224, 1.0, "torchvision")
    default = Config()
    assert (network.init, network.output) == (default.init, default.output)
