"""Maps, network inputs and readings of network outputs are those that were stored with their OUTPUT_VERSION."""

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from icnet import images, sod
from icnet.sod import basnet, cpd, egnet, f3net, global_contrast, maps, network, ones, onnx, preprocessing, u2net
from tests.helpers import golden

FILE = Path(__file__).with_name("golden.json")


def picture() -> np.ndarray:
    """Smooth colors with a bright disc, RGB [90, 120, 3]: no noise, so that libraries round it alike."""
    y, x = np.mgrid[:90, :120].astype(np.float32)
    base = np.stack([60 + x, 40 + y, 90 + 30 * np.sin(x / 20)], -1)
    disc = (y - 40) ** 2 + (x - 70) ** 2 < 22**2
    return np.clip(np.where(disc[..., None], (230, 60, 40), base), 0, 255).astype(np.uint8)


def logits() -> torch.Tensor:
    """A network's output [1, 30, 40]."""
    y, x = np.mgrid[:30, :40].astype(np.float32)
    return torch.from_numpy(3 * np.sin(x / 7) * np.cos(y / 5))[None]


FEEDS = {
    "egnet": (egnet.prepare, preprocessing.read_logit),
    "cpd": (cpd.prepare, preprocessing.read_stretched_logit),
    "f3net": (f3net.prepare, preprocessing.read_logit),
    "basnet": (
        partial(preprocessing.make_square_input, size=256, normalize=preprocessing.normalize_by_maximum),
        preprocessing.read_stretched,
    ),
    "u2net": (
        partial(preprocessing.make_square_input, size=320, normalize=preprocessing.normalize_by_maximum),
        preprocessing.read_stretched,
    ),
}


@pytest.mark.parametrize("name", FEEDS)
def test_what_a_network_is_fed_and_how_it_is_read_change_only_with_its_version(name):
    prepare, read = FEEDS[name]
    output = {
        "input": [golden.summarize(channel) for channel in prepare(picture())],
        "map": golden.summarize(100 * read(logits(), (90, 120)).numpy()),
    }
    golden.check(FILE, name, network.Convention(prepare, read).output_version, output, tolerance=0.5)


@torch.inference_mode()
@pytest.mark.parametrize("make", [lambda: u2net.U2Net(u2net.SMALL), cpd.CPDVGG, basnet.BASNet])
def test_the_output_of_a_network_changes_only_with_its_version(make):
    net = make().eval()
    for number, (key, tensor) in enumerate(net.state_dict().items()):
        if tensor.is_floating_point():
            noise = torch.from_numpy(np.random.RandomState(number).standard_normal(tuple(tensor.shape)))
            if tensor.dim() == 4:
                tensor.copy_(noise * (2 / tensor[0].numel()) ** 0.5)
            else:  # batch normalization and biases
                tensor.copy_(1 + 0.1 * noise if key.endswith(("running_var", ".weight")) else 0.1 * noise)
    inputs = torch.from_numpy(cv2.resize(picture(), (128, 128)).astype(np.float32) / 128 - 1).permute(2, 0, 1)[None]
    found = net(inputs)[0, 0]
    spread = (found - found.mean()) / (found.std() + 1e-6)
    golden.check(FILE, type(net).__name__, 1, {"output": golden.summarize(spread.numpy())}, tolerance=0.05)


def test_maps_of_methods_without_weights_change_only_with_their_version(tmp_path):
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "n.png").write_bytes(images.encode(cv2.resize(picture(), (30, 20))[..., 0].copy()))
    methods = {
        "gc": ("gc", global_contrast.OUTPUT_VERSION),
        "gc of a large image": ("gc?longest=60", global_contrast.OUTPUT_VERSION),
        "maps": (f"maps:{tmp_path}", maps.OUTPUT_VERSION),
        "ones": ("ones", ones.OUTPUT_VERSION),
    }
    for name, (spec, version) in methods.items():
        found = sod.make_method(spec)(picture(), ("g", "n"))
        golden.check(FILE, name, version, {"map": golden.summarize(100 * found)}, tolerance=1)


def test_what_an_exported_network_is_fed_changes_only_with_its_version():
    options = {"": {}, "imagenet": {"normalize": "imagenet"}, "formula": {"normalize": "bgr-104,117,123/2"}}
    output = {}
    for name, given in options.items():
        normalize = onnx.Options(**given).make_normalization()
        for antialias in (False, True):
            feed = onnx.Feed("x", np.float32, 48, False, normalize, antialias)
            output[f"{name} {antialias}"] = [golden.summarize(channel) for channel in feed(picture())[0]]
    for kind in ("stretch", "probability", "logit"):
        output[kind] = golden.summarize(100 * onnx.read_map(logits()[0].numpy(), kind, (90, 120)))
    golden.check(FILE, "onnx", onnx.OUTPUT_VERSION, output, tolerance=0.5)
