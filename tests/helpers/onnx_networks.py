"""Networks of one node as ONNX files, for photographs [1, 3, s, s]."""

from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper


def save_mean_color(file: Path, side: int) -> Path:
    """The mean color as a vector [1, 3]."""
    return _save(file, side, "ReduceMean", [1, 3], axes=[2, 3], keepdims=0)


def save_identity(file: Path, side: int) -> Path:
    """The photograph as feature maps [1, 3, s, s]."""
    return _save(file, side, "Identity", [1, 3, side, side])


def save_pixels(file: Path, side: int) -> Path:
    """A list of pixels [1, 3, s * s]."""
    return _save(file, side, "Reshape", [1, 3, side * side])


def _save(file: Path, side: int, kind: str, shape: list[int], **attributes: Any) -> Path:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, side, side])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)
    given = [helper.make_tensor("shape", TensorProto.INT64, [len(shape)], shape)] if kind == "Reshape" else []
    node = helper.make_node(kind, ["image", *(one.name for one in given)], ["output"], **attributes)
    graph = helper.make_graph([node], "network", [image], [output], given)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, file)
    return file
