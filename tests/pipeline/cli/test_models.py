"""The model that `cosal predict` uses, and the trained network of this repository."""

import hashlib
import json
import re

import pytest
import torch

import icnet
from icnet import checkpoint
from icnet.config import Config
from icnet.model import ICNet
from icnet.official import CheckpointError
from pipeline.cli.models import find_model
from tests.helpers.cosal import run

MAX_BYTES = 60_000_000


def test_the_card_lists_the_files_of_the_trained_network(root):
    card = (root / "weights" / "README.md").read_text()
    rows = re.findall(r"^\| `(\S+)` \|.*\| ([\d,]+) \| `([0-9a-f]{64})` \|$", card, re.MULTILINE)
    files = [file for file in (root / "weights").iterdir() if file.suffix in (".safetensors", ".onnx")]
    assert sorted(name for name, _, _ in rows) == sorted(file.name for file in files)
    for name, size, digest in rows:
        content = (root / "weights" / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (int(size.replace(",", "")), digest)
    assert sum(file.stat().st_size for file in files) <= MAX_BYTES


def test_the_trained_network_is_the_default_with_its_own_sod_network(root, tmp_path):
    found = find_model(str(checkpoint.WEIGHTS_FILE), tmp_path)
    assert found.sism_method == f"onnx:{root / 'weights' / 'u2netp.onnx'}"
    assert icnet.checkpoint.load().config.backbone == "dinov2_vits14"


def test_photographs_of_this_repository_become_maps_without_any_option(root, tmp_path):
    result = run("predict", root / "docs" / "photographs" / "hammer", tmp_path / "out", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) | {"page": ""} == {
        "maps": 9,
        "predicted": 9,
        "groups": 1,
        "rejects": 0,
        "empty_groups": [],
        "removed": [],
        "page": "",
    }
    page = (tmp_path / "out" / "index.html").read_text()
    assert hashlib.sha256(checkpoint.WEIGHTS_FILE.read_bytes()).hexdigest() in page


def test_a_checkpoint_without_a_sod_method_gets_global_contrast(tmp_path):
    torch.manual_seed(0)
    checkpoint.save(ICNet(Config(size=64, width=0.125)), tmp_path / "model.safetensors")
    assert find_model(str(tmp_path / "model.safetensors"), tmp_path).sism_method == "gc"


def test_a_file_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"there is no file .*nothing\.safetensors"):
        find_model(str(tmp_path / "nothing.safetensors"), tmp_path)
