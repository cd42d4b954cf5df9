"""The backbone: where features are taken, and where its ImageNet weights come from."""

import pytest
import torch
from torchvision.models import vgg16

from icnet.backbones.vgg16 import VGG16
from icnet.config import Config
from icnet.initialization import fill_local_orthogonal
from icnet.model import ICNet
from icnet.pretrained import load_vgg16


def test_features_are_taken_before_each_pooling_and_halve_from_stage_to_stage():
    shapes = [tuple(part.shape[1:]) for part in VGG16(0.25)(torch.randn(1, 3, 64, 64))]
    assert shapes == [(16, 64, 64), (32, 32, 32), (64, 16, 16), (128, 8, 8), (128, 4, 4), (32, 2, 2)]


def test_stages_1_to_5_are_torchvisions_vgg16(tmp_path):
    torch.manual_seed(0)
    theirs = vgg16(weights=None).eval()
    torch.save({key: value for key, value in theirs.state_dict().items() if key[0] == "f"}, tmp_path / "vgg.pth")
    ours = ICNet(Config(size=32)).eval()
    load_vgg16(ours, tmp_path / "vgg.pth")
    images = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(ours.backbone(images)[4], theirs.features[:30](images))


def test_the_sixth_stage_keeps_its_sign():
    torch.manual_seed(0)
    assert VGG16(0.25)(torch.randn(1, 3, 64, 64))[5].min() < 0


def test_half_precision_imagenet_weights_are_loaded_as_float32(shared):
    network = ICNet(Config(size=32))
    load_vgg16(network, shared / "weights" / "vgg16_imagenet_conv_tvnorm_fp16.pth")
    first = network.backbone.vgg[0].weight
    assert first.dtype == torch.float32
    assert first.abs().max() > 0.5


def test_weights_that_do_not_fit_are_refused(tmp_path):
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "part.pth")
    with pytest.raises(ValueError, match=r"has no `features.0.bias`"):
        load_vgg16(ICNet(Config(size=32)), tmp_path / "part.pth")
    with pytest.raises(ValueError, match="ImageNet weights need width 1"):
        load_vgg16(ICNet(Config(size=32, width=0.25)), tmp_path / "part.pth")
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(ValueError, match="cannot be read as weights"):
        load_vgg16(ICNet(Config(size=32, width=0.25)), tmp_path / "text.pth")
    with pytest.raises(FileNotFoundError, match="no backbone weights"):
        load_vgg16(ICNet(Config(size=32, width=0.25)), tmp_path / "none.pth")


def test_a_locally_orthogonal_convolution_keeps_the_spread_of_hes_and_mostly_turns_each_cell():
    torch.manual_seed(0)
    weight = torch.empty(64, 64, 3, 3)
    fill_local_orthogonal(weight)
    center = weight[:, :, 1, 1]
    assert weight.square().sum().item() == pytest.approx(2 * 64, rel=0.02)
    assert center.square().sum() > 0.98 * weight.square().sum()
    torch.testing.assert_close(center @ center.T / 2, torch.eye(64), rtol=0, atol=0.05)


def test_the_stages_of_vgg16_can_be_frozen_by_name():
    model = ICNet(Config(size=32, width=0.125))
    for name in ("conv1", "conv2"):
        model.part(name).requires_grad_(False)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {f"backbone.vgg.{layer}.{kind}" for layer in (0, 2, 5, 7) for kind in ("weight", "bias")}
