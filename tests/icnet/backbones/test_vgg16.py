"""VGG-16: where its features are taken, and where its ImageNet weights come from."""

import pytest
import torch

from icnet.backbones.vgg16 import VGG16
from icnet.config import Config
from icnet.initialization import fill_local_orthogonal
from icnet.model import ICNet
from icnet.pretrained import load_weights
from icnet.torchvision_models import vgg16

SMALL = Config(size=64, width=0.25)


def test_features_are_taken_before_each_pooling_and_halve_from_stage_to_stage():
    levels = VGG16(SMALL)(torch.randn(1, 3, 64, 64))
    assert [tuple(part.shape[1:]) for part in levels.low] == [(64, 16, 16), (32, 32, 32), (16, 64, 64)]
    assert [tuple(part.shape[1:]) for part in levels.high] == [(128, 8, 8), (128, 4, 4), (32, 2, 2)]


def test_a_backbone_describes_the_levels_that_it_gives():
    backbone = VGG16(SMALL)
    levels = backbone(torch.randn(1, 3, 64, 64))
    assert [part.shape[1] for part in levels.high] == [*backbone.channels]
    assert [part.shape[2] for part in levels.high] == [*backbone.sides]
    assert [part.shape[1] for part in levels.low] == [*backbone.low_channels]


def test_stages_1_to_5_are_torchvisions_vgg16(tmp_path):
    torch.manual_seed(0)
    theirs = vgg16(weights=None).eval()
    torch.save({key: value for key, value in theirs.state_dict().items() if key[0] == "f"}, tmp_path / "vgg.pth")
    ours = ICNet(Config(size=32)).eval()
    load_weights(ours, tmp_path / "vgg.pth")
    images = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(ours.backbone(images).high[1], theirs.features[:30](images))


def test_the_sixth_stage_keeps_its_sign():
    torch.manual_seed(0)
    assert VGG16(SMALL)(torch.randn(1, 3, 64, 64)).high[2].min() < 0


def test_half_precision_imagenet_weights_are_loaded_as_float32(shared):
    network = ICNet(Config(size=32))
    load_weights(network, shared / "weights" / "vgg16_imagenet_conv_tvnorm_fp16.pth")
    first = network.backbone.pretrained[0].weight
    assert first.dtype == torch.float32
    assert first.abs().max() > 0.5


def test_weights_that_do_not_fit_are_refused(tmp_path):
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "part.pth")
    with pytest.raises(ValueError, match=r"part.pth: there is no `features.0.bias`: expected the state dict"):
        load_weights(ICNet(Config(size=32)), tmp_path / "part.pth")
    with pytest.raises(ValueError, match="pretrained weights need width 1"):
        load_weights(ICNet(Config(size=32, width=0.25)), tmp_path / "part.pth")
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(ValueError, match="neither safetensors nor weights that torch loads"):
        load_weights(ICNet(Config(size=32, width=0.25)), tmp_path / "text.pth")
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        load_weights(ICNet(Config(size=32, width=0.25)), tmp_path / "none.pth")


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
