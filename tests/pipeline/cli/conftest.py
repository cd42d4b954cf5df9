"""A small network."""

import pytest
import torch

from icnet import checkpoint
from icnet.config import Config
from icnet.model import ICNet


@pytest.fixture(scope="package")
def model(tmp_path_factory):
    """The checkpoint of a network with random weights."""
    torch.manual_seed(3)
    file = tmp_path_factory.mktemp("model") / "model.safetensors"
    checkpoint.save(ICNet(Config(size=64, width=0.125, init="he")), file)
    return file
