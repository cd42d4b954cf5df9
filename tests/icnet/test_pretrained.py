"""Weights that a training starts from: checkpoints of the whole network. Backbones have tests of their own weights."""

import pytest
import torch

from icnet import checkpoint
from icnet.config import Config
from icnet.model import ICNet
from icnet.pretrained import load_weights
from tests.icnet.test_checkpoint import officially_named

SMALL = {"size": 64, "width": 0.125, "init": "he"}


def train_slightly(network):
    """Change every weight and statistic, as a training would."""
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor += 0.01 * torch.rand_like(tensor)


@pytest.fixture
def trained():
    torch.manual_seed(0)
    network = ICNet(Config(**SMALL))
    train_slightly(network)
    return network


def test_a_checkpoint_of_ours_fills_the_whole_network(trained, tmp_path):
    checkpoint.save(trained, tmp_path / "trained.safetensors")
    model = ICNet(Config(**SMALL))
    assert load_weights(model, tmp_path / "trained.safetensors") == "network"
    for key, tensor in trained.state_dict().items():
        assert torch.equal(model.state_dict()[key], tensor), key


def test_a_checkpoint_of_the_authors_fills_the_whole_network_and_alpha_starts_at_one(tmp_path):
    torch.manual_seed(0)
    theirs = ICNet(Config(size=64))
    torch.save(officially_named(theirs), tmp_path / "ICNet.pth")
    model = ICNet(Config(size=64))
    assert load_weights(model, tmp_path / "ICNet.pth") == "network"
    for key, tensor in theirs.state_dict().items():
        assert torch.equal(model.state_dict()[key], tensor), key
    assert all(block.alpha == 1 for block in model.blocks.values())


def test_a_checkpoint_without_alpha_starts_a_network_that_learns_it(tmp_path):
    checkpoint.save(ICNet(Config(**SMALL, alpha="one")), tmp_path / "one.safetensors")
    model = ICNet(Config(**SMALL))
    load_weights(model, tmp_path / "one.safetensors")
    assert all(block.alpha == 1 for block in model.blocks.values())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 96}, r"trained.safetensors: its network does not fit the model: its config has size 64 \(here 96\)"),
        ({"width": 0.25}, r"width 0.125 \(here 0.25\)"),
        ({"alpha": "one"}, r"alpha learned \(here one\)"),
    ],
)
def test_a_checkpoint_of_another_config_is_refused(trained, tmp_path, options, words):
    checkpoint.save(trained, tmp_path / "trained.safetensors")
    with pytest.raises(ValueError, match=words):
        load_weights(ICNet(Config(**SMALL | options)), tmp_path / "trained.safetensors")


def test_weights_that_are_not_finite_are_refused(trained, tmp_path):
    with torch.no_grad():
        trained.decoder.head.bias.fill_(float("nan"))
    checkpoint.save(trained, tmp_path / "broken.safetensors")
    with pytest.raises(ValueError, match=r"`decoder.head.bias` holds NaN"):
        load_weights(ICNet(Config(**SMALL)), tmp_path / "broken.safetensors")
    vgg = ICNet(Config(**SMALL)).backbone.pretrained.state_dict()
    torch.save(
        {f"features.{key}": torch.full_like(value, torch.inf) for key, value in vgg.items()}, tmp_path / "vgg.pth"
    )
    with pytest.raises(ValueError, match=r"vgg.pth: `features.0.weight` holds NaN"):
        load_weights(ICNet(Config(**SMALL)), tmp_path / "vgg.pth")
