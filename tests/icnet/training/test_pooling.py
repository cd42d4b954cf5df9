"""What the SIVs of training batches are pooled from."""

import numpy as np
import pytest
import torch

from icnet.config import Config
from icnet.model import ICNet
from icnet.training import Batch, SivSources
from icnet.training.pooling import predict_coarsest

VIT = {"backbone": "dinov2_vits14", "size": 56, "width": 1 / 6, "init": "he", "similarity_maps": True}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return ICNet(Config(**VIT)).train()


@pytest.fixture
def batch():
    draw = torch.Generator().manual_seed(1)
    sisms, masks = torch.rand(2, 3, 1, 56, 56, generator=draw)
    return Batch(torch.randn(3, 3, 56, 56, generator=draw), sisms, masks.round())


def test_sisms_are_the_default_and_draw_no_random_number(network, batch):
    state = torch.get_rng_state()
    assert SivSources().choose(network, batch) is None
    assert torch.equal(torch.get_rng_state(), state)


def test_masks_looks_and_sisms_get_their_shares(network, batch):
    torch.manual_seed(0)
    sources, counts = SivSources(masks=0.25, looks=0.25), {"masks": 0, "look": 0, "sisms": 0}
    for _ in range(80):
        found = sources.choose(network, batch)
        name = "sisms" if found is None else "masks" if found is batch.masks else "look"
        counts[name] += 1
    assert 10 <= counts["masks"] <= 30 and 10 <= counts["look"] <= 30 and 28 <= counts["sisms"] <= 52


def test_a_first_look_changes_no_mode_no_statistics_and_has_no_gradient(network, batch):
    network.fuse56.eval()
    modes = [module.training for module in network.modules()]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    maps = predict_coarsest(network, batch)
    assert maps.shape == (3, 1, 4, 4) and not maps.requires_grad
    assert maps.min() >= 0 and maps.max() <= 1
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    network.train()


def test_a_network_with_three_looks_also_sees_the_sivs_of_its_second_look(network, batch):
    torch.manual_seed(0)
    three = ICNet(Config(**VIT, looks=3)).train()
    first, second = (predict_coarsest(three, batch, looks) for looks in (1, 2))
    assert (first - second).abs().max() > 1e-4
    sources, counts = SivSources(looks=0.99), [0, 0]
    for _ in range(40):
        found = sources.choose(three, batch)
        counts = [
            count + (found is not None and torch.equal(found, one))
            for count, one in zip(counts, (first, second), strict=True)
        ]
    assert min(counts) >= 10


def test_stored_features_give_nearly_the_same_first_look(network, batch):
    """Half precision may change the order of cells whose attention is nearly equal."""
    stored = Batch(batch.images, batch.sisms, batch.masks, 1.0, tuple(network.compute_stored(batch.images)))
    found, expected = predict_coarsest(network, stored), predict_coarsest(network, batch)
    assert (found - expected).abs().mean() < 0.05
    assert np.corrcoef(found.flatten(), expected.flatten())[0, 1] > 0.9
