"""The formula that fills a network's weights and makes its input, so that references need no checkpoint."""

import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

GAINS = {
    "EGNet_vgg": {r"merge2\.final_score\.2\.weight": 0.25},
    "F3Net": {r".*\.bn3\.weight": 0.25},
    "CPD_vgg": {r"agg[12]\.conv5\.weight": 0.1},
    "CPD_resnet": {r".*\.bn3\.weight": 0.25, r"agg[12]\.conv5\.weight": 0.1},
    "BASNet": {r"(encoder|resb).*\.bn2\.weight": 0.25},
}
SIZES = {"s0": (2, 96, 128), "s1": (2, 93, 118), "big": (1, 288, 320)}


@pytest.fixture(scope="session")
def references(shared) -> Path:
    """The folder of numeric references."""
    return shared / "refs" / "sod"


@pytest.fixture(scope="session")
def formula_state(references) -> Callable[[str], dict[str, torch.Tensor]]:
    """State dict by the formula, float32, of the network with that name."""

    def make(name: str) -> dict[str, torch.Tensor]:
        lines = (references / f"{name}.keys.txt").read_text().splitlines()[1:]
        fields = [line.split("\t")[1:3] for line in lines]
        return {key: weight(name, key, shape_of(text)) for key, text in fields}

    return make


def shape_of(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)))


def weight(name: str, key: str, shape: tuple[int, ...]) -> torch.Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.zeros((), dtype=torch.long)
    random = np.random.RandomState(zlib.crc32(key.encode()))
    if key.endswith("running_var"):
        value = 1 + 0.5 * random.rand(*shape)
    else:
        value = random.randn(*shape)
        if key.endswith("running_mean"):
            value *= 0.1
        elif len(shape) == 4:
            value *= np.sqrt(2 / np.prod(shape[1:]))
        elif key.endswith("weight"):
            value = 1 + 0.1 * value
        else:
            value *= 0.05
    for pattern, gain in GAINS.get(name, {}).items():
        if re.fullmatch(pattern, key):
            value = value * gain
    return torch.from_numpy(value.astype(np.float32))


@pytest.fixture(scope="session")
def formula_input() -> Callable[[str], torch.Tensor]:
    """Input float32 [n, 3, h, w] by the formula, of the case s0, s1 or big."""

    def make(case: str) -> torch.Tensor:
        count, height, width = SIZES[case]
        random = np.random.RandomState(2020)
        blocks = random.randn(count, 3, -(-height // 16), -(-width // 16))
        blocks = blocks.repeat(16, 2).repeat(16, 3)[..., :height, :width]
        return torch.from_numpy((blocks + 0.25 * random.randn(count, 3, height, width)).astype(np.float32))

    return make
