"""ONNX graphs whose matrix products have weights in int8: a quarter of the bytes, and faster than float32.

Convolutions stay as they are, so it is the vision transformer that gains (docs/onnx.md).
"""

from pathlib import Path

import numpy as np
import torch

from icnet.onnx_export import NEXT_CUES_FILE, Graphs, OnnxExportError, make_inputs

NUM_CHECKED = 5
"""Images of the group that the maps are compared on."""

LARGEST_DIFFERENCE = 0.05
"""Of the maps, on average; a larger one is a failure of the quantization."""


def quantize_graphs(graphs: Path, folder: Path) -> float:
    """Write int8 versions of the graphs in `graphs` to `folder`: dynamic quantization, which needs no photographs.

    Returns how much their maps differ from those of the graphs on average, after one look, on smooth random images.
    Raises OnnxExportError where it is zero, above LARGEST_DIFFERENCE or not a number, and where the SIVs of a next look
    differ by more (1 less the cosine, on average).
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    folder.mkdir(parents=True, exist_ok=True)
    for graph in sorted(graphs.glob("*.onnx")):
        folded = folder / f"folded-{graph.name}"
        quant_pre_process(graph, folded, skip_symbolic_shape=True)  # transposed weights become constants
        quantize_dynamic(folded, folder / graph.name, op_types_to_quantize=["MatMul"], weight_type=QuantType.QInt8)
        folded.unlink()
    exact, small = Graphs(graphs), Graphs(folder)
    images, sisms = make_inputs(exact.size, NUM_CHECKED, torch.Generator().manual_seed(0))
    batch = {"images": images.numpy(), "sisms": sisms.numpy()}
    first = exact.run_cues([batch])
    maps, same = (one.predict(batch, one.run_cues([batch]))[0] for one in (exact, small))
    difference = float(np.abs(maps - same).mean())
    if not 0 < difference <= LARGEST_DIFFERENCE:
        raise OnnxExportError(f"maps of the int8 graphs differ from those in float32 by {difference} on average")
    if exact.looks > 1:
        pairs = zip(
            exact.run_next_cues([batch], first).values(), small.run_next_cues([batch], first).values(), strict=True
        )
        turned = float(np.mean([1 - (one * other).sum(axis=2).mean() for one, other in pairs]))
        if not turned <= LARGEST_DIFFERENCE:
            raise OnnxExportError(f"SIVs of the int8 graph {NEXT_CUES_FILE} differ by {turned} on average")
    return difference
