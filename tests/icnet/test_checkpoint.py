"""Checkpoints: what is saved comes back, and what is not a checkpoint is refused with a sentence."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import save_file

from icnet import checkpoint, official
from icnet.config import Config
from icnet.model import ICNet
from icnet.official import CheckpointError

SMALL = Config.row(6, size=64, width=0.125)


def test_a_reloaded_checkpoint_gives_identical_maps(tmp_path):
    torch.manual_seed(0)
    network = ICNet(SMALL)
    images, sisms = torch.randn(3, 3, 64, 64), torch.rand(3, 1, 64, 64)
    network(images, sisms)
    checkpoint.save(network.to(memory_format=torch.channels_last), tmp_path / "model.safetensors", epoch=3)
    again = checkpoint.load(tmp_path / "model.safetensors")
    assert again.config == SMALL
    assert not again.training
    with torch.inference_mode():
        assert torch.equal(again(images, sisms), network.eval()(images, sisms))


def test_metadata_travels_inside_the_file_and_nothing_is_left_beside_it(tmp_path):
    checkpoint.save(ICNet(SMALL), tmp_path / "model.safetensors", epoch=3, sod="u2netp", mean=[0.1, 0.2])
    facts = checkpoint.read_metadata(tmp_path / "model.safetensors")
    assert facts["config"]["size"] == 64
    assert (facts["epoch"], facts["sod"], facts["mean"]) == (3, "u2netp", [0.1, 0.2])
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_checkpoint_with_older_names_in_its_config_loads(tmp_path):
    torch.manual_seed(0)
    network = ICNet(SMALL)
    for older, current in (("normalised", "normalized"), ("raw", "raw")):
        fields = {**asdict(SMALL), "summed": older}
        del fields["cfm_sum"]
        save_file(network.state_dict(), tmp_path / "old.safetensors", {"config": json.dumps(fields)})
        again = checkpoint.load(tmp_path / "old.safetensors")
        assert again.config == replace(SMALL, cfm_sum=current)
        assert torch.equal(again.fuse56.second.weight, network.fuse56.second.weight)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    network = ICNet(SMALL)
    with torch.no_grad():
        network.decoder.head.bias.fill_(value)
    checkpoint.save(network, tmp_path / "broken.safetensors")
    with pytest.raises(CheckpointError, match=r"broken.safetensors: `decoder.head.bias` holds NaN or infinite values"):
        checkpoint.load(tmp_path / "broken.safetensors")


def officially_named(network):
    """The network's state dict under the authors' names."""
    ours = {new: old for old, new in official.RENAMED_KEYS.items()}
    parts = sorted((key for key in ours if key.startswith(("b", "c", "f", "d"))), key=len, reverse=True)
    named = {}
    for key, tensor in network.state_dict().items():
        if key.endswith(".alpha"):
            continue
        part = next(prefix for prefix in parts if key.startswith(prefix))
        rest = key[len(part) :]
        if part.startswith(("blocks.", "fuse", "decoder.stages.")):
            layer = next((name for name in ours if rest.startswith(name)), "")
            rest = ours.get(layer, "") + rest[len(layer) :]
        named[ours[part] + rest] = tensor
    return named


def test_an_authors_file_is_converted_on_the_way_in(tmp_path):
    torch.manual_seed(0)
    network = ICNet(Config(size=64)).eval()
    state = officially_named(network)
    assert len(state) == 190
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "ICNet.pth")
    again = checkpoint.load(tmp_path / "ICNet.pth")
    assert again.config == Config(size=64)
    for key, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda file: file.write_text("not weights"), "neither safetensors nor weights"),
        (lambda file: torch.save({"a": torch.zeros(1)}, file), "not a state dict of ICNet"),
        (lambda file: torch.save({"a": "text"}, file), "holds no state dict"),
        (lambda file: torch.save([1, 2], file), "holds no state dict"),
        (lambda file: save_file({"a": torch.zeros(1)}, file, {"config": '{"size": 64}'}), "Missing key"),
        (lambda file: save_file({"a": torch.zeros(1)}, file, {"config": '{"sizes": 64}'}), "unexpected keyword"),
    ],
)
def test_a_file_that_is_not_a_checkpoint_is_refused_by_name(tmp_path, make, words):
    make(tmp_path / "wrong.pth")
    with pytest.raises(CheckpointError, match=words) as caught:
        checkpoint.load(tmp_path / "wrong.pth")
    assert "wrong.pth" in str(caught.value)


def test_a_missing_file_is_reported_as_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*none.safetensors"):
        checkpoint.load(tmp_path / "none.safetensors")
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        checkpoint.read_metadata(tmp_path / "none.safetensors")


def test_a_file_with_code_in_it_is_not_run(tmp_path):
    class Code:
        def __reduce__(self):
            return (exec, ("raise SystemExit",))

    torch.save({"state_dict": Code()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match="neither safetensors nor weights"):
        checkpoint.load(tmp_path / "evil.pth")
