"""Maps averaged with those of the group's mirror image."""

from dataclasses import replace

import pytest
import torch

from icnet import checkpoint
from icnet.config import Config
from icnet.cues import Cues
from icnet.model import ICNet

SMALL = Config(size=64, width=0.125, init="he")


@pytest.fixture
def plain():
    torch.manual_seed(0)
    return ICNet(SMALL, chunk=3).double().eval().requires_grad_(False)


@pytest.fixture
def mirrored(plain):
    network = ICNet(replace(SMALL, mirrored=True), chunk=3).double().eval().requires_grad_(False)
    network.load_state_dict(plain.state_dict())
    return network


def group(n):
    return torch.randn(n, 3, 64, 64, dtype=torch.float64), torch.rand(n, 1, 64, 64, dtype=torch.float64)


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_maps_csa_maps_and_weights_are_the_means_of_both_ways(plain, mirrored):
    images, sisms = group(4)
    one, other = plain.predict(images, sisms), plain.predict(images.flip(3), sisms.flip(3))
    both = mirrored.predict(images, sisms)
    same(both.maps, (one.maps + other.maps.flip(3)) / 2)
    same(both.weights, (one.weights + other.weights) / 2)
    for stage in (4, 5, 6):
        same(both.csa[stage], (one.csa[stage] + other.csa[stage].flip(3)) / 2)


def test_the_mirror_image_of_a_group_gets_the_mirror_images_of_its_maps(plain, mirrored):
    images, sisms = group(4)
    same(mirrored(images.flip(3), sisms.flip(3)).flip(3), mirrored(images, sisms))
    assert (plain(images.flip(3), sisms.flip(3)).flip(3) - plain(images, sisms)).abs().max() > 1e-6


def test_two_passes_and_several_groups_at_once_equal_one_pass_each(mirrored):
    images, sisms = group(7)
    parts = list(zip(images.split([3, 4]), sisms.split([3, 4]), strict=True))
    cues = Cues.merge([mirrored.intra_cues(*part) for part in parts])
    same(torch.cat([mirrored(*part, cues=cues) for part in parts]), mirrored(images, sisms))
    together = mirrored.predict_groups(images, sisms, [3, 4])
    for found, part in zip(together, parts, strict=True):
        same(found.maps, mirrored(*part))


def test_training_sees_no_mirror_image(plain, mirrored):
    images, sisms = group(3)
    same(mirrored.train()(images, sisms), plain.train()(images, sisms))


def test_a_checkpoint_remembers_that_its_maps_are_averaged(mirrored, tmp_path):
    checkpoint.save(mirrored.float(), tmp_path / "model.safetensors")
    assert checkpoint.load(tmp_path / "model.safetensors").config.mirrored
