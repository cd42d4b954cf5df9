"""What the networks share: their authors' checkpoints loaded by key names, and batches of images put through them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from icnet.sod.base import Key, Method, Options, SodError, Spec, make_identity

Build = Callable[[Mapping[str, Tensor]], nn.Module]
"""Makes the network that a state dict belongs to, still without weights."""


@dataclass(frozen=True)
class Convention:
    """How a network is fed and read.

    prepare: RGB uint8 [H, W, 3] to the input float32 [3, h, w]. read: the network's output [1, h', w'] and (H, W) to
    the map float32 [H, W] in [0, 1]. algorithm: raised when either, or the network, changes its answers.
    """

    prepare: Callable[[np.ndarray], np.ndarray]
    read: Callable[[Tensor, tuple[int, int]], Tensor]
    algorithm: int = 1


def make(
    build: Build, convention: Convention, spec: Spec, device: torch.device, options: type[Options] = Options
) -> Method:
    """A network with its checkpoint as a SOD method. SodError names what is wrong with the checkpoint."""
    given = spec.options(options)
    file = spec.weights()
    network = build_network(build, read_state(file), str(file)).to(device, memory_format=torch.channels_last)
    return Method(
        partial(detect, network, convention, device),
        partial(make_identity, spec.kind, convention.algorithm, given, file),
    )


def uses_gpu() -> bool:
    """Networks run on a GPU where they get one."""
    return True


@torch.inference_mode()
def detect(
    network: nn.Module,
    convention: Convention,
    device: torch.device,
    images: Sequence[np.ndarray],
    keys: Sequence[Key],
) -> list[np.ndarray]:
    """Maps of the images; on a GPU those of one input size go through together, on a CPU that gains nothing."""
    inputs = [torch.from_numpy(convention.prepare(image)) for image in images]
    maps: list[np.ndarray | None] = [None] * len(images)
    for members in make_batches([tensor.shape for tensor in inputs], alone=device.type == "cpu"):
        batch = torch.stack([inputs[i] for i in members])
        outputs = network(batch.to(device, memory_format=torch.channels_last))
        for i, output in zip(members, outputs, strict=True):
            if not output.isfinite().all():
                raise ValueError(f"the network's map of {'/'.join(keys[i])} is not finite")
            maps[i] = convention.read(output, images[i].shape[:2]).cpu().numpy().astype(np.float32)
    return maps


def make_batches(sizes: Sequence[object], alone: bool) -> list[list[int]]:
    """Indices of the inputs that go through together: those of one size, or each alone."""
    members: dict[object, list[int]] = {}
    for i, size in enumerate(sizes):
        members.setdefault(i if alone else size, []).append(i)
    return list(members.values())


def build_network(build: Build, state: Mapping[str, Tensor], source: str) -> nn.Module:
    """The network of a state dict, in evaluation mode. SodError names missing, unknown and misshapen keys."""
    with torch.device("meta"):
        network = build(state)
    expected = {key: tensor.shape for key, tensor in network.state_dict().items() if not _is_counter(key)}
    unused = getattr(network, "UNUSED", ())
    given = {key: tensor for key, tensor in state.items() if not _is_counter(key) and not key.startswith(unused)}
    check_keys(f"{source} is not a checkpoint of {type(network).__name__}", expected, given)
    weights = {key: tensor.float() for key, tensor in given.items()}
    counters = {key: torch.zeros((), dtype=torch.long) for key in network.state_dict() if _is_counter(key)}
    network.load_state_dict(weights | counters, assign=True)
    return network.eval().requires_grad_(False)


def check_keys(complaint: str, expected: Mapping[str, torch.Size], given: Mapping[str, Tensor]) -> None:
    """SodError if keys or shapes differ."""
    problems = [f"key {key!r} is missing" for key in expected if key not in given]
    problems += [f"key {key!r} is unknown" for key in given if key not in expected]
    problems += [
        f"key {key!r} has shape {tuple(given[key].shape)} instead of {tuple(shape)}"
        for key, shape in expected.items()
        if key in given and given[key].shape != shape
    ]
    if problems:
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise SodError(f"{complaint}: {'; '.join(problems[:3])}{more}")


def read_state(file: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors or torch file by key, unwrapped and without DataParallel's prefix. SodError if none."""
    try:
        if file.suffix == ".safetensors":
            state = safetensors.torch.load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch and safetensors answer damage with whatever the bytes provoke
        reason = str(error).split("\n", 1)[0] or type(error).__name__
        raise SodError(f"{file} cannot be read as a checkpoint: {reason}") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise SodError(f"{file} holds no state dict (tensors by key)")
    return {key.removeprefix("module."): tensor for key, tensor in state.items()}


def _is_counter(key: str) -> bool:
    return key.endswith("num_batches_tracked")


def resize(features: Tensor, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """Bilinear resize of [n, c, h, w] to (height, width); the same tensor if it has that size."""
    if features.shape[-2:] == torch.Size(size):
        return features
    return F.interpolate(features, tuple(size), mode="bilinear", align_corners=align_corners)


def upsample(features: Tensor, factor: int, align_corners: bool = False) -> Tensor:
    """Bilinear enlargement of [n, c, h, w] by a whole factor."""
    return F.interpolate(features, scale_factor=factor, mode="bilinear", align_corners=align_corners)
