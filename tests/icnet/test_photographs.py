"""Three lines: `import icnet; model = icnet.load(); maps = model.predict(photographs)`."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import icnet
from icnet import images
from icnet.config import Config
from icnet.photographs import MAX_GROUP, CosaliencyModel, PhotographError
from tests.helpers import photographs
from tests.icnet.networks import ALL

SIZES = [(40, 60), (50, 30), (64, 64)]


@pytest.fixture(scope="module", params=ALL)
def model(request):
    torch.manual_seed(0)
    return CosaliencyModel(icnet.ICNet(Config(**ALL[request.param])), "gc", precision="float32")


@pytest.fixture(scope="module")
def pictures():
    return [photographs.photograph(number, *size)[0] for number, size in enumerate(SIZES)]


@pytest.fixture
def files(pictures, tmp_path):
    for number, picture in enumerate(pictures):
        (tmp_path / f"{number}.png").write_bytes(images.encode(picture))
    return [tmp_path / f"{number}.png" for number in range(len(pictures))]


def same(found, expected):
    assert np.array_equal(found.weights, expected.weights)
    for one, other in zip(found.maps + found.sisms, expected.maps + expected.sisms, strict=True):
        assert np.array_equal(one, other)


def test_maps_have_the_size_of_their_photographs_and_weights_have_the_mean_1(model, pictures):
    found = model.predict(pictures)
    assert len(found) == 3 and [one.shape for one in found.maps] == SIZES
    assert all(one.dtype == np.float32 and 0 <= one.min() <= one.max() <= 1 for one in found.maps + found.sisms)
    assert found.weights.mean() == pytest.approx(1, abs=1e-4)
    assert all(np.array_equal(mask, one > 0.25) for mask, one in zip(found.masks(0.25), found.maps, strict=True))


def test_a_network_can_be_told_how_often_to_look(pictures):
    torch.manual_seed(0)
    network = icnet.ICNet(Config(**ALL["vgg16"], looks=2))
    once, twice = (CosaliencyModel(network, "gc", precision="float32", looks=looks) for looks in (1, None))
    network.config = replace(network.config, looks=1)
    same(once.predict(pictures), CosaliencyModel(network, "gc", precision="float32").predict(pictures))
    assert not np.array_equal(once.predict(pictures).maps[0], twice.predict(pictures).maps[0])
    for looks in (0, 4):
        with pytest.raises(ValueError, match=f"looks must be 1, 2 or 3, got {looks}"):
            CosaliencyModel(network, "gc", looks=looks)


def test_paths_bytes_pil_images_arrays_and_tensors_give_the_same_maps(model, pictures, files):
    expected = model.predict(pictures)
    same(model.predict(files), expected)
    same(model.predict([str(file) for file in files]), expected)
    same(model.predict([file.read_bytes() for file in files]), expected)
    same(model.predict([Image.fromarray(picture) for picture in pictures]), expected)
    tensors = [torch.from_numpy(picture).permute(2, 0, 1) for picture in pictures]
    same(model.predict(tensors), expected)
    same(model.predict([tensor / 255 for tensor in tensors]), expected)


def test_a_mapping_gives_the_maps_of_each_group_and_given_sisms_are_used(model, pictures):
    groups = {"a": pictures[:2], "b": pictures[1:]}
    found = model.predict(groups)
    for name, members in groups.items():
        same(found[name], model.predict(members))
    white = {name: [np.ones((8, 8), np.float32)] * len(members) for name, members in groups.items()}
    given = model.predict(groups, white)
    assert all((one == 1).all() for maps in given.values() for one in maps.sisms)
    sisms = [np.asarray(one) for one in found["a"].sisms]
    same(model.predict(pictures[:2], sisms), found["a"])


def test_a_large_group_takes_several_passes_with_the_same_maps(model, pictures, monkeypatch):
    whole = model.predict(pictures * 2)
    monkeypatch.setattr("icnet.photographs.MAX_GROUP", 4)
    parts = model.predict(pictures * 2)
    assert MAX_GROUP > 6
    assert np.allclose(parts.weights, whole.weights, atol=1e-4)
    assert all(np.abs(one - other).max() <= 1 / 255 for one, other in zip(parts.maps, whole.maps, strict=True))


def test_a_group_may_be_empty_or_of_one_photograph(model, pictures):
    assert len(model.predict([])) == 0
    assert model.predict(pictures[:1]).weights.tolist() == pytest.approx([1])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"words", r"photograph 1: is not an image"),
        ("missing.jpg", r"photograph 1 \(missing.jpg\): cannot be read: No such file"),
        (np.zeros((4, 4, 7), np.uint8), r"photograph 1: is an array of shape \[4, 4, 7\]"),
        (np.full((4, 4), 2.0), r"photograph 1: holds floats outside \[0, 1\]"),
        (np.zeros((4, 4), np.int64), r"photograph 1: is an array of int64"),
        (Image.fromarray(np.full((4, 4), 0.5, np.float32)), r"photograph 1: holds floats or 32-bit integers"),
    ],
)
def test_a_photograph_that_cannot_be_used_is_named(model, pictures, bad, reason):
    with pytest.raises(PhotographError, match=reason):
        model.predict([pictures[0], bad])


def test_sisms_must_fit_the_photographs(model, pictures):
    with pytest.raises(PhotographError, match="3 photographs and 1 SISMs"):
        model.predict(pictures, [np.ones((4, 4))])
    with pytest.raises(PhotographError, match="same groups"):
        model.predict({"a": pictures}, {"b": pictures})
    with pytest.raises(TypeError, match="list of photographs"):
        model.predict("one.jpg")


def test_a_rotated_pil_image_is_upright(model, pictures):
    rotated = Image.fromarray(pictures[0])
    rotated.getexif()[0x0112] = 6
    assert model.predict([rotated]).maps[0].shape == SIZES[0][::-1]


def test_later_changes_of_the_network_do_not_reach_a_model(pictures):
    torch.manual_seed(0)
    network = icnet.ICNet(Config(**ALL["vgg16"]))
    model = CosaliencyModel(network, "ones")
    before = model.predict(pictures)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 1
    same(model.predict(pictures), before)


def test_the_trained_network_predicts_without_ray_mlflow_and_dvc(root):
    code = """
import sys, icnet
from pathlib import Path
model = icnet.load()
found = model.predict(sorted(Path("docs/photographs/windmill").iterdir())[:2])
assert 0.05 < found.masks()[0].mean() < 0.8 and model.sism_method.startswith("onnx:")
print(sorted({"ray", "mlflow", "dvc", "pandas", "pipeline"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=root, check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout.strip() == "[]"
