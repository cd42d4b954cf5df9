"""The exported graphs give the network's maps, for groups of any size, in parts, and without PyTorch."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from icnet import checkpoint, images, sod
from icnet.config import Config
from icnet.inference import Predictor
from icnet.model import ICNet
from icnet.onnx_export import TOLERANCE, Graphs, list_graphs, open_session
from icnet.onnx_int8 import quantize_graphs
from pipeline.cli.output import OutputError
from tests.helpers import cosal, photographs

PAGE = Path(__file__).parents[2] / "docs" / "onnx.md"
CONFIGS = {
    "vgg16": Config(size=64, width=0.125, init="he", output="mean"),
    "dinov2_vits14": Config(
        "dinov2_vits14", 56, 1 / 6, depths=(1, 2, 3), init="he", similarity_maps=True, residual_maps=True, object_maps=4
    ),
}
CONFIGS["three looks"] = replace(CONFIGS["dinov2_vits14"], looks=3)


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("vgg16", "dinov2_vits14")]


@pytest.fixture(scope="module", params=[*SLOW, "three looks"])
def exported(request, tmp_path_factory):
    """A network, and the folder of its graphs."""
    torch.manual_seed(0)
    model, folder = ICNet(CONFIGS[request.param]).eval(), tmp_path_factory.mktemp(request.param)
    return model, export(model, folder)


def export(model, folder):
    """In a process of its own: where shapes are checked, functions cannot be traced."""
    checkpoint.save(model, folder / "small.safetensors")
    command = [sys.executable, "-c", "from pipeline.cli.app import main; main()", "export-onnx"]
    command += [str(folder / "small.safetensors"), str(folder / "graphs")]
    made = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "from PyTorch" in made.stdout and not made.stderr, made.stderr
    return folder / "graphs"


def make_group(model, n):
    generator = torch.Generator().manual_seed(n)
    side = model.config.size
    return torch.randn(n, 3, side, side, generator=generator), torch.rand(n, 1, side, side, generator=generator)


def assert_same_maps(found, expected):
    """Most maps are equal. In some, rounding swaps channels of an RSCF whose CSA values are nearly equal."""
    differences = np.abs(found - expected).max(axis=(1, 2, 3))
    assert np.quantile(differences, 0.5, method="lower") <= TOLERANCE and differences.max() <= 100 * TOLERANCE


@pytest.mark.parametrize("n", [1, 7, 64])
def test_graphs_give_the_maps_and_weights_of_a_group_of_any_size(exported, n):
    model, folder = exported
    pictures, sisms = make_group(model, n)
    with torch.inference_mode():
        expected = Predictor(model, 8).predict(pictures, sisms)
    inputs, graphs = {"images": pictures.numpy(), "sisms": sisms.numpy()}, Graphs(folder)
    maps, weights = graphs.predict(inputs, graphs.find_sivs([inputs]))
    assert maps.shape == (n, 1, model.config.size, model.config.size) and weights.shape == (n, n)
    assert_same_maps(maps, expected.maps.numpy())
    assert np.abs(weights - expected.weights.numpy()).max() <= TOLERANCE


@pytest.mark.parametrize("empty", ["sisms", "images"])
def test_empty_sisms_and_photographs_of_one_color_give_the_maps_of_the_network(exported, empty):
    model, folder = exported
    pictures, sisms = make_group(model, 3)
    inputs = {"images": pictures, "sisms": sisms}
    inputs[empty] = torch.zeros_like(inputs[empty])
    with torch.inference_mode():
        expected = Predictor(model, 8).predict(inputs["images"], inputs["sisms"])
    given, graphs = {name: one.numpy() for name, one in inputs.items()}, Graphs(folder)
    maps, _ = graphs.predict(given, graphs.find_sivs([given]))
    assert_same_maps(maps, expected.maps.numpy())


def test_a_group_in_parts_has_the_maps_of_the_whole_group(exported):
    model, folder = exported
    pictures, sisms = (one.numpy() for one in make_group(model, 7))
    graphs, whole = Graphs(folder), {"images": pictures, "sisms": sisms}
    parts = [{name: one[part] for name, one in whole.items()} for part in (slice(0, 3), slice(3, 4), slice(4, 7))]
    sivs = graphs.find_sivs(parts)
    joined = np.concatenate([graphs.predict(part, sivs)[0] for part in parts])
    assert_same_maps(joined, graphs.predict(whole, graphs.find_sivs([whole]))[0])


def test_weights_in_int8_keep_maps_metadata_and_inputs(exported, tmp_path):
    model, graphs = exported
    difference = quantize_graphs(graphs, tmp_path / "small")
    assert 0 < difference < 0.02
    for name in list_graphs(model.config):
        before, after = open_session(graphs / name), open_session(tmp_path / "small" / name)
        facts = before.get_modelmeta().custom_metadata_map
        assert facts and facts.items() <= after.get_modelmeta().custom_metadata_map.items()
        assert [one.name for one in before.get_inputs()] == [one.name for one in after.get_inputs()]
        if model.config.backbone == "dinov2_vits14":
            assert (tmp_path / "small" / name).stat().st_size < 0.6 * (graphs / name).stat().st_size


def test_a_look_of_the_graphs_changes_the_sivs(exported):
    model, folder = exported
    pictures, sisms = make_group(model, 4)
    batch, graphs = {"images": pictures.numpy(), "sisms": sisms.numpy()}, Graphs(folder)
    last = graphs.find_sivs([batch])
    graphs.looks = 1
    first = graphs.find_sivs([batch])
    changed = max(np.abs(last[name] - first[name]).max() for name in last) > 1e-3
    assert changed == (model.config.looks > 1)


def test_a_graph_that_somebody_made_is_not_overwritten(tmp_path):
    checkpoint.save(ICNet(CONFIGS["vgg16"]), tmp_path / "small.safetensors")
    (tmp_path / "maps.onnx").write_bytes(b"mine")
    with pytest.raises(OutputError, match="was not written by cosal"):
        cosal.run("export-onnx", tmp_path / "small.safetensors", tmp_path)
    assert (tmp_path / "maps.onnx").read_bytes() == b"mine"


def test_the_example_of_the_page_runs_without_torch(exported, tmp_path):
    model, graphs = exported
    side = model.config.size
    root = photographs.write(tmp_path / "photographs", {"apple": 3}, height=90, width=120)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    (tmp_path / "example.py").write_text("import sys; sys.modules['torch'] = None\n" + code)
    u2netp = PAGE.parents[1] / "weights" / "u2netp.onnx"
    command = [sys.executable, "example.py", str(graphs), str(u2netp), str(root / "images" / "apple"), "maps"]
    subprocess.run(command, cwd=tmp_path, check=True)
    files = sorted((root / "images" / "apple").glob("*.png"))
    pixels = [images.decode(file.read_bytes()) for file in files]
    sisms = [images.quantize(sod.make_method(f"onnx:{u2netp}")(one)) for one in pixels]
    with torch.inference_mode():
        expected = model.predict(
            images.normalize(np.stack([images.resize(one, (side, side)) for one in pixels])),
            images.scale_maps(np.stack([images.resize(one, (side, side)) for one in sisms])),
        ).maps[:, 0]
    for file, map_ in zip(files, expected, strict=True):
        made_map = images.decode_gray((tmp_path / "maps" / file.name).read_bytes()).astype(int)
        assert made_map.shape == (90 + files.index(file) % 3, 120)
        difference = np.abs(made_map - images.resize(images.quantize(map_), made_map.shape))
        assert difference.mean() <= 3  # gray levels: the program resizes photographs for U2NetP in another way
