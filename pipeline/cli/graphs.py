"""`cosal export-onnx`: a network as ONNX graphs in a folder."""

import tempfile
from pathlib import Path

from icnet import checkpoint
from icnet.onnx_export import CHECKED_SIZES, CUES_FILE, MAPS_FILE, OPSET, export_onnx
from pipeline.cli.models import find_model
from pipeline.cli.output import OutputFolder, ProtectedFiles


def write_graphs(model: str, out: Path) -> str:
    """Write the graphs of a network, after they were checked; returns a summary.

    Raises OnnxExportError if they differ from the network or cannot be made, and OutputError if a file must not be
    written.
    """
    output = OutputFolder(out)
    with tempfile.TemporaryDirectory(prefix="cosal-") as temporary:
        weights = find_model(model, Path(temporary, "model")).weights
        output.plan([CUES_FILE, MAPS_FILE], ProtectedFiles.find([], [weights]))
        with output.lock():
            output.start()
            differences = export_onnx(checkpoint.load(weights), Path(temporary, "graphs"))
            for name in (CUES_FILE, MAPS_FILE):
                output.write(name, Path(temporary, "graphs", name).read_bytes())
            output.remove_old_files()
    lines = [
        f"{out / name}: {(out / name).stat().st_size / 1e6:.1f} MB, opset {OPSET}" for name in (CUES_FILE, MAPS_FILE)
    ]
    sizes = " and ".join(map(str, CHECKED_SIZES))
    lines.append(f"groups of {sizes} images differ from PyTorch by {max(differences.values()):.1e} (docs/onnx.md)")
    return "\n".join(lines)
