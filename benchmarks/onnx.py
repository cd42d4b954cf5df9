"""ONNX graphs beside PyTorch: images/s and scores, also with weights in int8.

The collection has images/<group>, masks/<group> and perhaps void/<group>. SISMs are made first, by the model's SOD
method. Then whole groups are predicted in batches of eight, on all cores: PyTorch in float32 and, where the processor
has it, bf16; onnxruntime in float32, and with matrix products in int8 (dynamic quantization). Scores are at the size
of the network.

    python -m benchmarks.onnx COLLECTION
"""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from icnet import checkpoint, images, sod
from icnet.hardware import has_fast_bf16
from icnet.inference import Predictor, optimize
from icnet.onnx_export import Graphs, export_onnx
from icnet.onnx_int8 import quantize_graphs
from pipeline.metrics.aggregate import Scores
from pipeline.metrics.pysod import score_map

BATCH_SIZE = 8

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Photograph:
    """A photograph with its SISM, mask and void mask, at the size of the network, uint8."""

    key: tuple[str, str]
    image: np.ndarray
    sism: np.ndarray
    mask: np.ndarray
    void: np.ndarray | None


Predict = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Images [n, 3, s, s] and SISMs [n, 1, s, s] of a group to maps [n, s, s] in [0, 1]."""


def read_collection(root: Path, side: int, method: sod.Method) -> list[Photograph]:
    """All photographs that have a mask, by group."""
    found = []
    for file in sorted((root / "images").glob("*/*")):
        group, mask = file.parent.name, root / "masks" / file.parent.name / f"{file.stem}.png"
        if not mask.is_file():
            continue
        pixels, void = images.decode(file.read_bytes()), root / "void" / group / f"{file.stem}.png"
        views = [images.quantize(method(pixels)), images.decode_mask(mask.read_bytes())]
        views += [images.decode_mask(void.read_bytes())] if void.is_file() else []
        small = [images.resize(view, (side, side)) for view in (pixels, *views)]
        found.append(Photograph((group, file.stem), small[0], small[1], small[2], small[3] if len(small) > 3 else None))
    return found


def make_torch(file: Path, dtype: torch.dtype) -> Predict:
    """PyTorch with all cores."""
    predictor = Predictor(optimize(checkpoint.load(file), dtype), BATCH_SIZE)

    @torch.inference_mode()
    def predict(pictures: np.ndarray, sisms: np.ndarray) -> np.ndarray:
        return predictor.predict(torch.from_numpy(pictures), torch.from_numpy(sisms)).maps[:, 0].float().numpy()

    return predict


def make_onnx(folder: Path) -> Predict:
    """onnxruntime with all cores: a pass for the SIVs of each look, and one for the maps."""
    graphs = Graphs(folder, num_threads=len(os.sched_getaffinity(0)))

    def predict(pictures: np.ndarray, sisms: np.ndarray) -> np.ndarray:
        starts = range(0, len(pictures), BATCH_SIZE)
        batches = [{"images": pictures[at : at + BATCH_SIZE], "sisms": sisms[at : at + BATCH_SIZE]} for at in starts]
        sivs = graphs.find_sivs(batches)
        return np.concatenate([graphs.predict(batch, sivs)[0][:, 0] for batch in batches])

    return predict


def run(predict: Predict, photographs: list[Photograph]) -> tuple[float, dict[str, float]]:
    """Images/s, and the scores over all images."""
    seconds, scored = 0.0, []
    for _, members in groupby(photographs, key=lambda one: one.key[0]):
        group = list(members)
        inputs = images.normalize(np.stack([one.image for one in group])).numpy()
        sisms = images.scale_maps(np.stack([one.sism for one in group])).numpy()
        started = time.perf_counter()
        maps = predict(np.ascontiguousarray(inputs), sisms)
        seconds += time.perf_counter() - started
        scored += [
            (one.key, score_map(images.quantize(map_), one.mask, one.void))
            for one, map_ in zip(group, maps, strict=True)
        ]
    return len(photographs) / seconds, Scores.of(scored).overall()


@app.command()
def main(
    collection: Annotated[Path, typer.Argument(help="images/<group>, masks/<group>, perhaps void/<group>.")],
    model: Annotated[Path, typer.Option(help="Checkpoint.")] = checkpoint.WEIGHTS_FILE,
    most: Annotated[int, typer.Option(help="Photographs, evenly spaced.")] = 1000,
) -> None:
    """Print images/s, scores and megabytes of each."""
    side, method = checkpoint.read_config(model).size, sod.make_method(checkpoint.read_sism_method(model))
    photographs = read_collection(collection, side, method)
    photographs = [
        photographs[at] for at in np.linspace(0, len(photographs) - 1, min(most, len(photographs))).astype(int)
    ]
    with tempfile.TemporaryDirectory() as temporary:
        graphs, small = Path(temporary, "graphs"), Path(temporary, "small")
        export_onnx(checkpoint.load(model), graphs)
        quantize_graphs(graphs, small)
        kinds: dict[str, Predict] = {"torch float32": make_torch(model, torch.float32)}
        if has_fast_bf16(torch.device("cpu")):
            kinds["torch bf16"] = make_torch(model, torch.bfloat16)
        kinds |= {"onnxruntime float32": make_onnx(graphs), "onnxruntime int8": make_onnx(small)}
        for name, predict in kinds.items():
            run(predict, photographs[:BATCH_SIZE])
            speed, scores = run(predict, photographs)
            print(
                f"{name:20} {speed:6.2f} images/s  max F {scores['max_f']:.4f} S {scores['s']:.4f}"
                f" MAE {scores['mae']:.4f}",
                flush=True,
            )
        for folder in (graphs, small):
            sizes = [f"{file.stat().st_size / 1e6:.1f}" for file in sorted(folder.glob("*.onnx"))]
            print(f"{folder.name}: {', '.join(sizes)} MB")


if __name__ == "__main__":
    app()
