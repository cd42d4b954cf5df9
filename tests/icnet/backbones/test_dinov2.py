"""DINOv2: reference outputs of the published weights, the names that load, and what is refused."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from icnet import checkpoint
from icnet.backbones import DINOv2
from icnet.config import Config
from icnet.model import ICNet
from icnet.pretrained import load_weights
from icnet.whitening import PRETRAINED_POWER, whiten_compression
from tests.icnet.networks import DINOV2


@pytest.fixture(scope="module")
def weights(shared):
    return shared / "weights" / "dinov2_vits14_fp16.safetensors"


@pytest.fixture(scope="module")
def published(weights):
    model = ICNet(Config(backbone="dinov2_vits14", depths=(6, 11, 12)))
    load_weights(model, weights)
    return model.eval()


@pytest.fixture(scope="module")
def reference(shared):
    with np.load(shared / "refs" / "dinov2_vits14.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def reference_input():
    random = np.random.RandomState(2020)
    blocks = np.kron(random.randn(1, 3, 16, 16), np.ones((1, 1, 14, 14)))
    return torch.from_numpy((blocks + 0.25 * random.randn(1, 3, 224, 224)).astype(np.float32))


def flatten(tokens):
    return tokens.flatten(2).transpose(1, 2)


def normalize_last(tokens, weights):
    state = load_file(weights)
    scale, shift = state["norm.weight"].float(), state["norm.bias"].float()
    return functional.layer_norm(flatten(tokens), (384,), scale, shift, eps=1e-6)


def test_tokens_are_those_of_the_reference(published, reference, weights):
    with torch.inference_mode():
        sixth, _, last = published.backbone(reference_input(), low=False).high
    torch.testing.assert_close(flatten(sixth), reference["block5"][:, 1:], rtol=0, atol=1e-4)
    torch.testing.assert_close(normalize_last(last, weights), reference["x_norm"][:, 1:], rtol=0, atol=1e-4)


def test_tokens_of_another_grid_are_those_of_the_reference(published, reference, weights):
    """196 x 224 px: position embeddings for 14 x 16 patches."""
    with torch.inference_mode():
        (last,) = published.backbone.vit(reference_input()[:, :, :196], (12,))
    assert last.shape == (1, 384, 14, 16)
    torch.testing.assert_close(normalize_last(last, weights), reference["x_norm_196x224"][:, 1:], rtol=0, atol=1e-4)


def name_as_huggingface(state):
    """The state dict of a Dinov2Model with the same weights."""
    names = {
        "cls_token": "embeddings.cls_token",
        "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj": "embeddings.patch_embeddings.projection",
        "blocks.": "encoder.layer.",
        "attn.proj": "attention.output.dense",
        "ls1.gamma": "layer_scale1.lambda1",
        "ls2.gamma": "layer_scale2.lambda1",
    }
    renamed = {"embeddings.mask_token": torch.zeros(1, 64), "layernorm.weight": torch.ones(64)}
    for key, tensor in state.items():
        for official, theirs in names.items():
            key = key.replace(official, theirs)
        if "attn.qkv" in key:
            for kind, part in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                renamed[key.replace("attn.qkv", f"attention.attention.{kind}")] = part.contiguous()
        else:
            renamed[key] = tensor
    return renamed


@pytest.fixture
def trained():
    torch.manual_seed(0)
    return ICNet(Config(**DINOV2)).backbone.vit.state_dict()


@pytest.mark.parametrize("published_as", ["official.pth", "huggingface.safetensors"])
def test_the_names_of_the_official_checkpoint_and_of_hugging_face_load(trained, tmp_path, published_as):
    """Rounded to half precision: checkpoints store them so."""
    file = tmp_path / published_as
    if published_as == "official.pth":
        torch.save({**trained, "mask_token": torch.zeros(1, 64), "norm.weight": torch.ones(64)}, file)
    else:
        save_file(name_as_huggingface(trained), file)
    model = ICNet(Config(**DINOV2))
    assert load_weights(model, file) == "backbone"
    for key, tensor in model.backbone.vit.state_dict().items():
        assert torch.equal(tensor, trained[key].half().float()), key


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda state: state.pop("blocks.1.ls1.gamma"),
            "there is no `blocks.1.ls1.gamma`: expected the weights of DINOv2",
        ),
        (lambda state: state.update(cls_token=torch.zeros(1, 1, 384)), "pretrained weights need width 1"),
        (lambda state: state["cls_token"].fill_(torch.nan), "`cls_token` holds NaN or infinite values"),
        (lambda state: state.clear(), "there is no `cls_token`"),
    ],
)
def test_weights_that_do_not_fit_are_refused_with_a_sentence(trained, tmp_path, change, words):
    state = {key: tensor.clone() for key, tensor in trained.items()}
    change(state)
    torch.save(state, tmp_path / "wrong.pth")
    with pytest.raises(ValueError, match=f"wrong.pth: .*{words}"):
        load_weights(ICNet(Config(**DINOV2)), tmp_path / "wrong.pth")


def test_the_weights_of_vgg16_are_refused(tmp_path):
    vgg = ICNet(Config(size=32)).backbone.vgg.state_dict()
    torch.save({f"features.{key}": tensor for key, tensor in vgg.items()}, tmp_path / "vgg.pth")
    with pytest.raises(ValueError, match="expected the weights of DINOv2 ViT-S/14"):
        load_weights(ICNet(Config(**DINOV2)), tmp_path / "vgg.pth")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 60}, "size must be a multiple of 14 px with dinov2_vits14, got 60"),
        ({"depths": (8, 10, 13)}, "depths must be three rising numbers from 1 to 12, got 8, 10, 13"),
        ({"depths": (0, 1, 2)}, "depths must be three rising numbers from 1 to 12, got 0, 1, 2"),
        ({"depths": (2, 2, 3)}, "depths must be three rising numbers"),
        ({"depths": (2, 3)}, "depths must be three rising numbers"),
        ({"init": "delta"}, "init delta needs backbone vgg16"),
        ({"backbone": "vgg16"}, "depths needs backbone dinov2_vits14"),
    ],
)
def test_wrong_options_are_refused_with_a_sentence(options, words):
    with pytest.raises(ValueError, match=words):
        Config(**DINOV2 | options)


def test_a_backbone_describes_the_levels_that_it_gives():
    backbone = DINOv2(Config(**DINOV2))
    levels = backbone(torch.randn(2, 3, 84, 84))
    assert [tuple(part.shape[1:]) for part in levels.high] == [(64, 6, 6)] * 3
    assert [part.shape[2] for part in levels.high] == [*backbone.sides]
    assert [part.shape[1] for part in levels.high] == [*backbone.channels]
    assert [part.shape[1] for part in levels.low] == [*backbone.low_channels]
    assert [part.shape[2] for part in levels.low] == [11, 21, 42]
    assert backbone(torch.randn(2, 3, 84, 84), low=False).low == []


def test_only_the_blocks_up_to_the_deepest_that_is_used_are_built():
    assert len(DINOv2(Config(**DINOV2)).vit.blocks) == 3
    assert len(DINOv2(Config(**DINOV2 | {"depths": (1, 2, 5)})).vit.blocks) == 5


def test_the_transformer_and_the_map_of_its_tokens_are_frozen_and_all_else_is_trained():
    model = ICNet(Config(**DINOV2))
    frozen = {".".join(key.split(".")[:2]) for key, part in model.named_parameters() if not part.requires_grad}
    assert frozen == {"backbone.vit", "compress.4", "compress.5", "compress.6"}
    model.part("vit").requires_grad_(True)
    assert next(model.backbone.vit.parameters()).requires_grad


def test_tokens_reach_the_blocks_as_they_are_until_they_are_whitened():
    torch.manual_seed(0)
    model, images = ICNet(Config(**DINOV2)).eval(), torch.randn(20, 3, 84, 84)
    raw = model.backbone(images).high[2]
    torch.testing.assert_close(model.encode(images).high[2], functional.normalize(raw, dim=1))
    whiten_compression(model, images, PRETRAINED_POWER)
    cells = model.compress["6"](raw).permute(0, 2, 3, 1).flatten(0, 2)
    torch.testing.assert_close(cells.mean(dim=0), torch.zeros(64), rtol=0, atol=1e-3)
    covariance = torch.cov(cells.T)
    assert (covariance - covariance.diag().diag()).abs().max() < 0.01 * covariance.max()


def test_stored_features_give_the_maps_of_the_images():
    torch.manual_seed(0)
    model = ICNet(Config(**DINOV2)).eval()
    images, sisms = torch.randn(4, 3, 84, 84), torch.rand(4, 1, 84, 84)
    with torch.no_grad():
        stored = model.compute_stored(images)
        assert {part.dtype for part in stored} == {torch.float16}
        found = model(images, sisms, stored=stored)
        expected = model(images, sisms)
    assert (found - expected).abs().mean() < 5e-3
    assert (found - model(images.flip(0), sisms).flip(0)).abs().max() > 0.01


def test_features_of_a_backbone_that_is_trained_cannot_be_stored():
    with pytest.raises(ValueError, match="features of vgg16 cannot be stored: training changes them"):
        ICNet(Config(size=32, width=0.125)).compute_stored(torch.randn(1, 3, 32, 32))


def test_a_checkpoint_holds_the_published_weights_in_half_precision_and_loads_the_same_network(trained, tmp_path):
    torch.save(trained, tmp_path / "official.pth")
    model = ICNet(Config(**DINOV2)).eval()
    load_weights(model, tmp_path / "official.pth")
    checkpoint.save(model, tmp_path / "model.safetensors")
    state = load_file(tmp_path / "model.safetensors")
    assert {tensor.dtype for key, tensor in state.items() if key.startswith("backbone.vit.")} == {torch.float16}
    again = checkpoint.load(tmp_path / "model.safetensors")
    assert again.config == model.config
    for key, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], tensor), key


def test_a_checkpoint_holds_fine_tuned_weights_in_full_precision(tmp_path):
    torch.manual_seed(0)
    model = ICNet(Config(**DINOV2))
    checkpoint.save(model, tmp_path / "model.safetensors")
    again = checkpoint.load(tmp_path / "model.safetensors")
    for key, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], tensor), key
