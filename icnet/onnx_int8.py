"""ONNX graphs whose matrix products have weights in int8: a quarter of the bytes, and faster than float32.

Convolutions stay as they are, so it is the vision transformer that gains (docs/onnx.md).
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from icnet.onnx_export import CUES_FILE, MAPS_FILE, SIVS, OnnxExportError, make_inputs, open_session

NUM_CHECKED = 5
"""Images of the group that the maps are compared on."""

LARGEST_DIFFERENCE = 0.05
"""Of the maps, on average; a larger one is a failure of the quantization."""


def quantize_graphs(graphs: Path, folder: Path) -> float:
    """Write int8 versions of the graphs in `graphs` to `folder`: dynamic quantization, which needs no photographs.

    Returns the mean absolute difference of their maps from those of the graphs, on smooth random images. Raises
    OnnxExportError where it is zero, above LARGEST_DIFFERENCE or not a number.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    folder.mkdir(parents=True, exist_ok=True)
    for name in (CUES_FILE, MAPS_FILE):
        folded = folder / f"folded-{name}"
        quant_pre_process(graphs / name, folded, skip_symbolic_shape=True)  # transposed weights become constants
        quantize_dynamic(folded, folder / name, op_types_to_quantize=["MatMul"], weight_type=QuantType.QInt8)
        folded.unlink()
    difference = float(np.abs(_predict(graphs) - _predict(folder)).mean())
    if not 0 < difference <= LARGEST_DIFFERENCE:
        raise OnnxExportError(f"maps of the int8 graphs differ from those in float32 by {difference} on average")
    return difference


def _predict(folder: Path) -> NDArray[np.float32]:
    """Maps [n, 1, s, s] of a random group."""
    cues, maps = (open_session(folder / name) for name in (CUES_FILE, MAPS_FILE))
    images, sisms = make_inputs(cues.get_inputs()[0].shape[-1], NUM_CHECKED, torch.Generator().manual_seed(0))
    given = {"images": images.numpy(), "sisms": sisms.numpy()}
    sivs = dict(zip(SIVS, cues.run(list(SIVS), given), strict=True))
    return np.asarray(maps.run(["maps"], given | sivs)[0])
