"""Any SOD network that was exported to ONNX, run by onnxruntime. Without options it is fed as U2Net."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from icnet import images as image_files
from icnet.images import Pixels
from icnet.sod import preprocessing
from icnet.sod.base import DetectionError, Key, Method, SaliencyMap, SodError, Spec, make_identity
from icnet.sod.onnx_options import Normalization, Options
from icnet.sod.preprocessing import Array

OUTPUT_VERSION = 2
"""Raise it whenever a map may change."""

CUDA = "CUDAExecutionProvider"

DEFAULT_SIZE = 320
"""Side of the input in px where neither the network nor the option `size` sets it."""

TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
}
"""Types of an image input that are supported."""

NETWORK_BYTES, BYTES_PER_PIXEL = 500_000_000, 4000
"""Memory at the peak for the network, and for each pixel of its input."""


@dataclass(frozen=True)
class Feed:
    """How one network is fed: the input's name, type, side in px and layout, and the normalization."""

    name: str
    type: type[np.generic]
    size: int
    channels_last: bool
    normalize: Normalization
    antialias: bool

    def __call__(self, image: Pixels) -> np.ndarray:
        """Return the input of one image: [1, 3, size, size], or [1, size, size, 3]."""
        if self.antialias:
            resized = image_files.resize(image, (self.size, self.size)).astype(np.float32) / np.float32(255)
            made = self.normalize(resized).transpose(2, 0, 1)
        else:
            made = preprocessing.make_square_input(image, self.size, self.normalize)
        if self.type is np.uint8:
            made = np.rint(np.clip(made, 0, 255))
        return np.ascontiguousarray(made.transpose(1, 2, 0) if self.channels_last else made).astype(self.type)[None]


def make(spec: Spec, device: torch.device) -> Method:
    """Make the method of an ONNX file. Raises SodError if it cannot be run, or cannot follow the options."""
    options, network = spec.parse_options(Options), open_network(spec, device)
    run = partial(detect, network, options.map)
    return Method(run, partial(make_identity, "onnx", OUTPUT_VERSION, options, spec.require_file()))


@dataclass(frozen=True)
class Network:
    """An open ONNX network: onnxruntime's session, how it is fed, and the output that is read.

    `alone`: images are run one by one, as the batch size is fixed or nothing is gained by more.
    """

    session: Any
    feed: Feed
    output: str
    alone: bool

    def run(self, images: Sequence[Pixels]) -> list[np.ndarray]:
        """The outputs for the images, [n, ...] of each batch."""
        inputs = [self.feed(image) for image in images]
        batches = inputs if self.alone or not inputs else [np.concatenate(inputs)]
        return [np.asarray(self.session.run([self.output], {self.feed.name: batch})[0]) for batch in batches]


def open_network(spec: Spec, device: torch.device) -> Network:
    """Open the network of an ONNX file. Raises SodError if it cannot be run, or cannot follow the options."""
    options, session = spec.parse_options(Options), open_session(spec, device)
    entry = find_input(spec, options, session)
    outputs = session.get_outputs()
    if not 0 <= options.output < len(outputs):
        raise SodError(f"{spec.text!r}: no output {options.output}; there are {len(outputs)}")
    alone = isinstance(entry.shape[0], int) or session.get_providers()[0] != CUDA
    return Network(session, make_feed(spec, options, entry), outputs[options.output].name, alone)


def find_input(spec: Spec, options: Options, session: Any) -> Any:
    """Return the session's image input. Raises SodError if there is none of that name."""
    inputs = {entry.name: entry for entry in session.get_inputs()}
    name = options.input or next(iter(inputs), "")
    if name not in inputs:
        raise SodError(f"{spec.text!r}: no input {name!r}; there are {', '.join(inputs)}")
    return inputs[name]


def make_feed(spec: Spec, options: Options, entry: Any) -> Feed:
    """Return how the input is fed. Raises SodError if it takes no square RGB image of the size in the options."""
    shape = list(entry.shape)
    channels_last = len(shape) == 4 and shape[3] == 3 and shape[1] != 3
    sides = shape[1:3] if channels_last else shape[2:]
    fixed = [side for side in sides if isinstance(side, int)]
    size = options.size or (fixed[0] if fixed else DEFAULT_SIZE)
    channels = shape[-1] if channels_last else shape[1] if len(shape) > 1 else None
    wrong_channels = isinstance(channels, int) and channels != 3
    if entry.type not in TYPES or len(shape) != 4 or wrong_channels or any(side != size for side in fixed):
        raise SodError(f"{spec.text!r}: input {entry.name!r} is a {entry.type} {shape}, not an RGB image of {size} px")
    kind, normalization = TYPES[entry.type], options.make_normalization()
    if kind is np.uint8 and normalization.range != "255":
        raise SodError(f"{spec.text!r}: input {entry.name!r} takes bytes: add range=255, or a formula as normalize")
    return Feed(entry.name, kind, size, channels_last, normalization, options.antialias)


def uses_gpu() -> bool:
    """Whether the installed onnxruntime is the one for NVIDIA GPUs."""
    try:
        import onnxruntime
    except ImportError:
        return False
    return CUDA in onnxruntime.get_available_providers()


def estimate_memory(spec: Spec, pixels: int) -> int:
    """Estimate the bytes for an image, of which the network gets a copy of its own size."""
    size = spec.parse_options(Options).size or open_network(spec, torch.device("cpu")).feed.size
    return NETWORK_BYTES + BYTES_PER_PIXEL * size**2


def open_session(spec: Spec, device: torch.device) -> Any:
    """Open an onnxruntime session with as many threads as torch has, on a GPU if both can."""
    try:
        import onnxruntime
    except ImportError as error:
        raise SodError(f"{spec.text!r} needs the package onnxruntime") from error
    provider = CUDA if device.type == "cuda" and uses_gpu() else "CPUExecutionProvider"
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(spec.require_file(), settings, providers=[provider])
    except Exception as error:  # onnxruntime's errors share no base class but Exception
        raise SodError(f"{spec.text!r} cannot be run by onnxruntime: {' '.join(str(error).split())}") from error


def detect(network: Network, kind: str, images: Sequence[Pixels], keys: Sequence[Key]) -> list[SaliencyMap]:
    """Return the maps of the images; on a GPU as one batch if the network's batch size is free.

    Raises DetectionError if an output is not finite, SodError if it is not one map.
    """
    grids: list[Array] = []
    for values in network.run(images):
        grids += [_to_grid(one, network.output) for one in (values[None] if values.ndim == 2 else values)]
    for grid, key in zip(grids, keys, strict=True):
        if not np.isfinite(grid).all():
            raise DetectionError(f"the network's map of {'/'.join(key)} is not finite")
    return [read_map(grid, kind, image.shape[:2]) for grid, image in zip(grids, images, strict=True)]


def _to_grid(values: np.ndarray, output: str) -> Array:
    """Return one image's output, [h, w], [1, h, w] or [h, w, 1], as float32 [h, w]."""
    shape = values.shape
    if values.ndim == 3 and 1 in (shape[0], shape[2]):
        values = values[0] if shape[0] == 1 else values[..., 0]
    if values.ndim != 2:
        raise SodError(f"output {output!r} has the shape {list(shape)} for an image: it is not one map")
    return values.astype(np.float32)


def read_map(raw: Array, kind: str, size: tuple[int, int]) -> SaliencyMap:
    """Return a network's raw map [h, w] as a saliency map of (height, width)."""
    if kind == "stretch":
        return preprocessing.stretch_map(raw, size)
    probability = 1 / (1 + np.exp(-np.clip(raw, -80, 80))) if kind == "logit" else np.clip(raw, 0, 1)
    return image_files.resize(image_files.quantize(probability), size).astype(np.float32) / np.float32(255)
