"""An embedding by any network that was exported to ONNX, in place of the SIVs."""

import numpy as np
import pytest
from PIL import Image

from icnet import sod
from pipeline.group.embedders import OnnxEmbedder, identify_embedder, resolve_embedding
from tests.helpers import cosal, onnx_networks, photographs

SIDE = 32


@pytest.fixture(scope="module")
def pictures():
    drawn = [photographs.photograph(seed, SIDE, SIDE) for seed in range(3)]
    return [picture for picture, _ in drawn], [mask for _, mask in drawn]


def test_a_vector_is_the_embedding_at_length_one(tmp_path, pictures):
    file = onnx_networks.save_mean_color(tmp_path / "net.onnx", SIDE)
    found = OnnxEmbedder(f"onnx:{file}?normalize=unit")(*pictures)
    wanted = np.stack([picture.reshape(-1, 3).mean(axis=0) for picture in pictures[0]])
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    assert found.shape == (3, 3) and np.abs(found - wanted).max() < 1e-3


def test_feature_maps_are_pooled_where_the_photograph_is_salient(tmp_path, pictures):
    file = onnx_networks.save_identity(tmp_path / "net.onnx", SIDE)
    found = OnnxEmbedder(f"onnx:{file}?normalize=unit")(*pictures)
    wanted = np.stack([picture[mask > 0].mean(axis=0) for picture, mask in zip(*pictures, strict=True)])
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    assert np.abs(found - wanted).max() < 1e-3


def test_an_output_that_describes_nothing_is_one_sentence(tmp_path, pictures):
    file = onnx_networks.save_pixels(tmp_path / "net.onnx", SIDE)
    with pytest.raises(sod.SodError, match=r"is \[1, 3, 1024\], neither"):
        OnnxEmbedder(f"onnx:{file}")(*pictures)
    with pytest.raises(sod.SodError, match="no output 4; there are 1"):
        OnnxEmbedder(f"onnx:{file}?output=4")
    with pytest.raises(sod.SodError, match="an embedding is `onnx:`"):
        resolve_embedding("gc")


def test_the_embedder_is_identified_by_weights_and_options(tmp_path):
    one = onnx_networks.save_mean_color(tmp_path / "one.onnx", SIDE)
    same = onnx_networks.save_mean_color(tmp_path / "same.onnx", SIDE)
    other = onnx_networks.save_identity(tmp_path / "other.onnx", SIDE)
    first = identify_embedder(tmp_path, f"onnx:{one}")
    assert first == identify_embedder(tmp_path, f"onnx:{same}")
    assert first not in {identify_embedder(tmp_path, f"onnx:{file}") for file in (other, f"{one}?size=32")}


def test_groups_by_color(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    colors = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}
    truth = ["photo,group"]
    for number in range(24):
        name = list(colors)[number % 3]
        draw = np.random.default_rng(number)
        picture = np.clip(np.array(colors[name]) + draw.normal(0, 12, 3) + draw.normal(0, 8, (48, 48, 3)), 0, 255)
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{number:02d}.png")
        truth.append(f"{number:02d}.png,{name}")
    (tmp_path / "truth.csv").write_text("\n".join(truth))
    file = onnx_networks.save_mean_color(tmp_path / "net.onnx", SIDE)
    embedding = "--embedding", f"onnx:{file}?normalize=unit&mean=0.3", "--sism", "ones"
    found = cosal.run("group", folder, tmp_path / "out", "--truth", tmp_path / "truth.csv", *embedding)
    assert found.exit_code == 0 and "3 groups of 8, 8, 8" in found.output, found.output
    assert "BCubed F 1.000" in found.output
