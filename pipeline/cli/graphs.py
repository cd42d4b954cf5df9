"""`cosal export-onnx`: a network as ONNX graphs in a folder."""

import tempfile
from pathlib import Path

from icnet import checkpoint
from icnet.onnx_export import CHECKED_SIZES, OPSET, export_onnx, list_graphs
from icnet.onnx_int8 import quantize_graphs
from pipeline.cli.models import find_model
from pipeline.cli.output import OutputFolder, ProtectedFiles


def write_graphs(model: str, out: Path, int8: bool = False) -> str:
    """Write the graphs of a network, after they were checked; returns a summary.

    `int8`: write them with the weights of matrix products in int8.

    Raises OnnxExportError if they differ from the network or cannot be made, and OutputError if a file must not be
    written.
    """
    output = OutputFolder(out)
    with tempfile.TemporaryDirectory(prefix="cosal-") as temporary:
        weights = find_model(model, Path(temporary, "model")).weights
        names = list_graphs(checkpoint.read_config(weights))
        output.plan(names, ProtectedFiles.find([], [weights]))
        with output.lock():
            output.start()
            made, small = Path(temporary, "graphs"), Path(temporary, "int8")
            differences = export_onnx(checkpoint.load(weights), made)
            rounding = quantize_graphs(made, small) if int8 else None
            for name in names:
                output.write(name, ((small if int8 else made) / name).read_bytes())
            output.remove_old_files()
    lines = [f"{out / name}: {(out / name).stat().st_size / 1e6:.1f} MB, opset {OPSET}" for name in names]
    sizes = " and ".join(map(str, CHECKED_SIZES))
    lines.append(f"groups of {sizes} images differ from PyTorch by {max(differences.values()):.1e} (docs/onnx.md)")
    if rounding is not None:
        lines.append(f"with weights in int8, maps of random images differ by another {rounding:.3f} on average")
    return "\n".join(lines)
