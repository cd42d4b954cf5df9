"""How much memory a prediction is expected to need."""

import subprocess
import sys

import pytest

from icnet import checkpoint
from icnet.checkpoint import CheckpointError
from icnet.config import Config
from icnet.memory import estimate_memory
from icnet.model import ICNet
from tests.icnet.networks import FULL, VGG16

BATCH = 8
PREDICT = """
import re
import sys
from pathlib import Path
import torch
from icnet import checkpoint
from icnet.inference import Predictor, optimize

torch.set_num_threads(1)
model = checkpoint.load(sys.argv[1])
side, batch = model.config.size, int(sys.argv[2])
images, sisms = torch.rand(2 * batch, 3, side, side), torch.rand(2 * batch, 1, side, side)
with torch.inference_mode():
    Predictor(optimize(model), batch).predict(images, sisms)
(peak,) = re.findall(r"VmHWM: *(\\d+)", Path("/proc/self/status").read_text().replace("\\t", " "))
print(int(peak) * 1024)
"""


@pytest.mark.parametrize("config", [Config(width=0.5), Config("dinov2_vits14", similarity_maps=True)])
def test_a_prediction_stays_below_the_estimate_and_needs_more_than_half_of_it(config, tmp_path):
    checkpoint.save(ICNet(config), tmp_path / "model.safetensors")
    command = [sys.executable, "-c", PREDICT, str(tmp_path / "model.safetensors"), str(BATCH)]
    peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert peak < estimate_memory(config, BATCH) < 2.5 * peak


def test_larger_batches_and_inputs_need_more():
    small, large = Config(**VGG16), Config()
    assert estimate_memory(small, 8) < estimate_memory(large, 8) < estimate_memory(large, 16)


def test_the_config_is_read_without_the_weights(tmp_path):
    checkpoint.save(ICNet(Config(**FULL)), tmp_path / "model.safetensors")
    assert checkpoint.read_config(tmp_path / "model.safetensors") == Config(**FULL)
    (tmp_path / "authors.pth").write_bytes(b"of torch.save")
    assert checkpoint.read_config(tmp_path / "authors.pth") == Config()
    with pytest.raises(FileNotFoundError):
        checkpoint.read_config(tmp_path / "absent")


def test_a_config_that_is_not_valid_is_named(tmp_path):
    model = ICNet(Config(**VGG16))
    object.__setattr__(model.config, "looks", 7)
    checkpoint.save(model, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: looks"):
        checkpoint.read_config(tmp_path / "model.safetensors")
