"""What all SOD networks share: loading their authors' checkpoints by key, and running batches of images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from icnet.images import Pixels
from icnet.sod.base import DetectionError, Key, Method, Options, SaliencyMap, SodError, Spec, make_identity

Build = Callable[[Mapping[str, Tensor]], nn.Module]
"""Makes the network that a state dict belongs to, without its weights."""

MAX_PROBLEMS = 3
"""Wrong keys of a checkpoint that an error names."""


@dataclass(frozen=True)
class Convention:
    """How a network is fed and how its output is read.

    prepare: RGB uint8 [H, W, 3] to the input, float32 [3, h, w]. read: the network's output [1, h', w'] and (H, W) to
    the map, float32 [H, W] in [0, 1]. output_version: raised whenever a map may change.
    """

    prepare: Callable[[Pixels], NDArray[np.float32]]
    read: Callable[[Tensor, tuple[int, int]], Tensor]
    output_version: int = 1


def make(
    build: Build, convention: Convention, spec: Spec, device: torch.device, options: type[Options] = Options
) -> Method:
    """Make the method of a network with its checkpoint. Raises SodError if the checkpoint does not fit."""
    given = spec.parse_options(options)
    file = spec.require_file()
    network = build_network(build, read_state(file), str(file))
    network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Method(
        partial(detect, network, convention, device),
        partial(make_identity, spec.kind, convention.output_version, given, file),
    )


def uses_gpu() -> bool:
    """Networks can run on a GPU."""
    return True


@torch.inference_mode()
def detect(
    network: nn.Module,
    convention: Convention,
    device: torch.device,
    images: Sequence[Pixels],
    keys: Sequence[Key],
) -> list[SaliencyMap]:
    """Return the maps of the images. Raises DetectionError if an output is not finite.

    On a GPU, images of one input size run as one batch. On a CPU each runs alone: a batch is no faster there, and the
    map of an image then depends on no other image.
    """
    inputs = [torch.from_numpy(convention.prepare(image)) for image in images]
    maps: dict[int, SaliencyMap] = {}
    for members in make_batches([tensor.shape for tensor in inputs], alone=device.type == "cpu"):
        batch = torch.stack([inputs[i] for i in members])
        outputs = network(batch.to(device, memory_format=torch.channels_last))
        for i, output in zip(members, outputs, strict=True):
            if not output.isfinite().all():
                raise DetectionError(f"the network's map of {'/'.join(keys[i])} is not finite")
            height, width = images[i].shape[:2]
            maps[i] = convention.read(output, (height, width)).cpu().numpy().astype(np.float32)
    return [maps[i] for i in range(len(images))]


def make_batches(sizes: Sequence[object], alone: bool) -> list[list[int]]:
    """Group the indices of inputs into batches: those of one size, or each alone."""
    members: dict[object, list[int]] = {}
    for i, size in enumerate(sizes):
        members.setdefault(i if alone else size, []).append(i)
    return list(members.values())


def build_network(build: Build, state: Mapping[str, Tensor], source: str) -> nn.Module:
    """Build the network of a state dict, in evaluation mode.

    Raises SodError for missing and unknown keys, wrong shapes, and weights that are not finite. `source` names the
    checkpoint in the message.
    """
    with torch.device("meta"):
        network = build(state)
    expected = {key: tensor.shape for key, tensor in network.state_dict().items() if not _is_counter(key)}
    unused = getattr(network, "UNUSED", ())
    given = {key: tensor for key, tensor in state.items() if not _is_counter(key) and not key.startswith(unused)}
    check_keys(f"{source} is not a checkpoint of {type(network).__name__}", expected, given)
    weights = {key: tensor.float() for key, tensor in given.items()}
    _check_finite(source, weights)
    counters = {key: torch.zeros((), dtype=torch.long) for key in network.state_dict() if _is_counter(key)}
    network.load_state_dict(weights | counters, assign=True)
    return network.eval().requires_grad_(False)


def check_keys(complaint: str, expected: Mapping[str, torch.Size], given: Mapping[str, Tensor]) -> None:
    """Raise SodError if keys or shapes differ. The message begins with `complaint`."""
    problems = [f"key {key!r} is missing" for key in expected if key not in given]
    problems += [f"key {key!r} is unknown" for key in given if key not in expected]
    problems += [
        f"key {key!r} has shape {tuple(given[key].shape)} instead of {tuple(shape)}"
        for key, shape in expected.items()
        if key in given and given[key].shape != shape
    ]
    if problems:
        more = f"; and {len(problems) - MAX_PROBLEMS} more" if len(problems) > MAX_PROBLEMS else ""
        raise SodError(f"{complaint}: {'; '.join(problems[:MAX_PROBLEMS])}{more}")


def _check_finite(source: str, weights: Mapping[str, Tensor]) -> None:
    for key, tensor in weights.items():
        if not tensor.isfinite().all():
            raise SodError(f"{source} cannot be used: key {key!r} holds weights that are not finite")


def read_state(file: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors or torch file by key, without wrappers and DataParallel's prefix.

    No code of the file is run. Raises SodError if it holds no state dict.
    """
    state = _load(file)
    for wrapper in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise SodError(f"{file} holds no state dict (tensors by key)")
    return {key.removeprefix("module."): tensor for key, tensor in state.items()}


def _load(file: Path) -> object:
    try:
        if file.suffix == ".safetensors":
            return safetensors.torch.load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files make torch and safetensors raise errors of any kind
        reason = str(error).split("\n", 1)[0] or type(error).__name__
        raise SodError(f"{file} cannot be read as a checkpoint: {reason}") from error


def _is_counter(key: str) -> bool:
    return key.endswith("num_batches_tracked")


def apply(module: nn.Module, name: str, *inputs: Tensor) -> Tensor:
    """Apply the submodule of that name."""
    output: Tensor = module.get_submodule(name)(*inputs)
    return output


def resize(features: Tensor, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """Resize [n, c, h, w] to (height, width), bilinear. Returns the same tensor if it has that size."""
    if features.shape[-2:] == torch.Size(size):
        return features
    height, width = size
    return F.interpolate(features, (height, width), mode="bilinear", align_corners=align_corners)


def upsample(features: Tensor, factor: int, align_corners: bool = False) -> Tensor:
    """Enlarge [n, c, h, w] by a whole factor, bilinear."""
    return F.interpolate(features, scale_factor=factor, mode="bilinear", align_corners=align_corners)
