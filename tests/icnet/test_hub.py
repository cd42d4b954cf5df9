"""The methods of the Hugging Face Hub, with a local folder."""

import json

import pytest
import torch

from icnet import checkpoint
from icnet.checkpoint import CheckpointError
from icnet.config import Config
from icnet.hub import HubICNet
from icnet.model import ICNet
from tests.icnet.networks import ALL, SIZE


@pytest.fixture(params=ALL)
def network(request):
    torch.manual_seed(0)
    return ICNet(Config(**ALL[request.param])).eval()


def test_a_saved_network_gives_the_same_maps(network, tmp_path):
    HubICNet.copy(network).save_pretrained(tmp_path)
    images, sisms = torch.randn(3, 3, SIZE, SIZE), torch.rand(3, 1, SIZE, SIZE)
    with torch.no_grad():
        expected = network(images, sisms)
        assert torch.allclose(HubICNet.from_pretrained(str(tmp_path))(images, sisms), expected, rtol=0, atol=1e-3)
        assert torch.allclose(
            checkpoint.load(tmp_path / "model.safetensors")(images, sisms), expected, rtol=0, atol=1e-3
        )


def test_the_folder_has_a_config_and_a_model_card(network, tmp_path):
    HubICNet.copy(network).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["backbone"] == network.config.backbone and saved["size"] == SIZE
    card = (tmp_path / "README.md").read_text()
    assert "license: mit" in card and "co-saliency" in card and "library_name: icnet" in card


def test_a_damaged_checkpoint_is_named(network, tmp_path):
    HubICNet.copy(network).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        HubICNet.from_pretrained(str(tmp_path))
