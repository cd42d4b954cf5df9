"""Any SOD network exported to ONNX, run by onnxruntime. The options' defaults are those of U2Net."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch

from icnet import images as pictures
from icnet.sod import preprocessing
from icnet.sod.base import Key, Method, SodError, Spec, make_identity
from icnet.sod.base import Options as Base

ALGORITHM = 1
CUDA = "CUDAExecutionProvider"


class Options(Base):
    """How the exported network is fed and read.

    input: name of the image input, the first if empty. output: index of the map's output. size: side of the square
    input in px. normalize: u2net (by the image's maximum, then ImageNet), imagenet, or unit (0..1). map: what the
    output is: stretch (a probability, min-max normalized as U2Net's authors do), probability, or logit.
    """

    input: str = ""
    output: int = 0
    size: int = 320
    normalize: Literal["u2net", "imagenet", "unit"] = "u2net"
    map: Literal["stretch", "probability", "logit"] = "stretch"


def make(spec: Spec, device: torch.device) -> Method:
    """An ONNX file as a SOD method. SodError if it cannot be run, or cannot follow the options."""
    options = spec.options(Options)
    file = spec.weights()
    session = open_session(spec, device)
    entry = choose_input(spec, options, session)
    outputs = session.get_outputs()
    if not 0 <= options.output < len(outputs):
        raise SodError(f"{spec.text!r}: no output {options.output}; there are {len(outputs)}")
    alone = isinstance(entry.shape[0], int) or session.get_providers()[0] != CUDA
    run = partial(detect, session, entry.name, outputs[options.output].name, options, alone)
    return Method(run, partial(make_identity, "onnx", ALGORITHM, options, file))


def choose_input(spec: Spec, options: Options, session: Any) -> Any:
    """The session's image input. SodError if there is none of that name, size or type."""
    inputs = {entry.name: entry for entry in session.get_inputs()}
    name = options.input or next(iter(inputs))
    if name not in inputs:
        raise SodError(f"{spec.text!r}: no input {name!r}; there are {', '.join(inputs)}")
    entry = inputs[name]
    fits = len(entry.shape) == 4 and all(side == options.size or not isinstance(side, int) for side in entry.shape[2:])
    if entry.type != "tensor(float)" or not fits:
        raise SodError(f"{spec.text!r}: input {name!r} is a {entry.type} {entry.shape}, not float of {options.size} px")
    return entry


def has_cuda() -> bool:
    """Whether the onnxruntime installed here is the one for NVIDIA GPUs."""
    try:
        import onnxruntime
    except ImportError:
        return False
    return CUDA in onnxruntime.get_available_providers()


def open_session(spec: Spec, device: torch.device) -> Any:
    """An onnxruntime session with as many threads as torch has (Ray bounds those); on a GPU where it can."""
    try:
        import onnxruntime
    except ImportError as error:
        raise SodError(f"{spec.text!r} needs onnxruntime: pip install 'icnet[onnx]'") from error
    provider = CUDA if device.type == "cuda" and has_cuda() else "CPUExecutionProvider"
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(spec.weights(), settings, providers=[provider])
    except Exception as error:  # onnxruntime's own classes share no base but Exception
        raise SodError(f"{spec.text!r} cannot be run by onnxruntime: {error}") from error


def detect(
    session: Any,
    entry: str,
    output: str,
    options: Options,
    alone: bool,
    images: Sequence[np.ndarray],
    keys: Sequence[Key],
) -> list[np.ndarray]:
    """Maps of the images; on a GPU they go through together where the network's batch size is free."""
    normalize = preprocessing.NORMALISATIONS[options.normalize]
    fed = [preprocessing.make_square_input(image, options.size, normalize)[None] for image in images]
    batches = fed if alone or not fed else [np.concatenate(fed)]
    raw = [session.run([output], {entry: batch})[0] for batch in batches]
    grids = [grid for values in raw for grid in values.reshape(len(values), *values.shape[-2:])]
    for grid, key in zip(grids, keys, strict=True):
        if not np.isfinite(grid).all():
            raise ValueError(f"the network's map of {'/'.join(key)} is not finite")
    return [read(grid, options.map, image.shape[:2]) for grid, image in zip(grids, images, strict=True)]


def read(raw: np.ndarray, kind: str, size: tuple[int, int]) -> np.ndarray:
    """The network's raw map [h, w] as a saliency map float32 [H, W] in [0, 1]."""
    if kind == "stretch":
        return preprocessing.stretch_map(raw, size)
    probability = 1 / (1 + np.exp(-raw)) if kind == "logit" else np.clip(raw, 0, 1)
    return pictures.resize(pictures.quantize(probability), size).astype(np.float32) / 255
