"""Which of the decoder's maps is the co-saliency map."""

from dataclasses import replace

import pytest
import torch

from icnet import checkpoint
from icnet.config import Config
from icnet.inference import Predictor, optimize
from icnet.layers import sharpen
from icnet.model import ICNet
from tests.icnet.networks import ALL, SIZE


@pytest.fixture(params=ALL)
def finest(request):
    torch.manual_seed(0)
    return ICNet(Config(**ALL[request.param])).double().eval().requires_grad_(False)


@pytest.fixture
def mean(finest):
    network = ICNet(replace(finest.config, output="mean")).double().eval().requires_grad_(False)
    network.load_state_dict(finest.state_dict())
    return network


@pytest.fixture
def sharp(finest):
    network = ICNet(replace(finest.config, sharpness=2.0)).double().eval().requires_grad_(False)
    network.load_state_dict(finest.state_dict())
    return network


def group(n):
    return torch.randn(n, 3, SIZE, SIZE, dtype=torch.float64), torch.rand(n, 1, SIZE, SIZE, dtype=torch.float64)


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_the_finest_map_is_the_last_of_the_four(finest):
    images, sisms = group(4)
    same(finest(images, sisms), finest.predict(images, sisms, every_map=True).maps[:, 3:])


def test_the_mean_is_that_of_the_four_that_training_supervises(finest, mean):
    images, sisms = group(4)
    four = finest.predict(images, sisms, every_map=True).maps
    same(mean(images, sisms), four.mean(dim=1, keepdim=True))
    assert (four[:, 3:] - mean(images, sisms)).abs().max() > 1e-3


def test_training_and_every_map_are_the_same_for_both(finest, mean):
    images, sisms = group(3)
    same(*(network.predict(images, sisms, every_map=True).maps for network in (mean, finest)))
    same(*(network.train()(images, sisms) for network in (mean, finest)))


def test_the_mean_of_a_large_group_in_two_passes_is_that_of_one_pass(mean):
    images, sisms = group(7)
    batches = list(zip(images.split([3, 4]), sisms.split([3, 4]), strict=True))
    cues = Predictor(mean).gather_cues(lambda: batches)
    same(torch.cat([mean(*batch, cues=cues) for batch in batches]), mean(images, sisms))


def test_a_copy_for_inference_gives_the_mean_too(mean):
    images, sisms = group(4)
    fast = optimize(mean.float())
    torch.testing.assert_close(
        fast(images.float(), sisms.float()), mean(images.float(), sisms.float()), rtol=0, atol=1e-3
    )


def test_a_checkpoint_remembers_which_map_it_is(mean, tmp_path):
    checkpoint.save(mean.float(), tmp_path / "model.safetensors")
    assert checkpoint.load(tmp_path / "model.safetensors").config.output == "mean"


def test_sharpness_multiplies_the_logits_of_the_map_and_of_no_supervised_map(finest, sharp):
    images, sisms = group(4)
    same(sharp(images, sisms), (2 * torch.logit(finest(images, sisms))).sigmoid())
    same(*(network.predict(images, sisms, every_map=True).maps for network in (sharp, finest)))


def test_pixels_that_are_certain_or_undecided_stay_as_they_are():
    certain = torch.tensor([0.0, 0.5, 1.0])
    for factor in (0.3, 1.0, 2.0, 10.0):
        assert torch.equal(sharpen(certain, factor), certain)


@pytest.mark.parametrize("factor", [0, -1, 11, float("nan")])
def test_a_sharpness_out_of_range_is_refused(factor):
    with pytest.raises(ValueError, match="sharpness"):
        Config(sharpness=factor)
