"""ICNet as two ONNX graphs, for groups of any size without PyTorch.

    cues.onnx   images, sisms -> sivs_4, sivs_5, sivs_6
    maps.onnx   images, sisms, sivs_4, sivs_5, sivs_6 -> maps, weights

`cues` gives the SIVs of any images of a group. Those of all its images, concatenated, are an input of `maps`, which may
again get the images in parts. So a group of any size is two passes over batches of its images.

Legend: n images, m SIVs of their group, c channels, s px a side.
"""

import importlib.util
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from icnet.correlation import Cues
from icnet.images.arrays import MEAN, STD
from icnet.inference import optimize
from icnet.layers import resize
from icnet.model import STAGES, ICNet

OPSET = 20
"""Version of ONNX's operators in both graphs."""
TOLERANCE = 1e-4
"""Largest difference from PyTorch that an export may have (`check_graphs`)."""
CUES_FILE, MAPS_FILE = "cues.onnx", "maps.onnx"
SIVS = tuple(f"sivs_{stage}" for stage in STAGES)
CHECKED_SIZES = (2, 5)
"""Images of the groups that an export is checked with; the graphs are traced with other ones."""

SMOOTHNESS = 14
"""Pixels between the random values of an image to check with."""
TRACED_IMAGES, TRACED_SIVS = 3, 4


class OnnxExportError(RuntimeError):
    """A network that has no ONNX graphs, a missing package, or graphs that differ from the network."""


class CuesGraph(nn.Module):
    """The SIVs of foreground and background of each block, [n, 2, c]."""

    def __init__(self, model: ICNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Float[Tensor, "n 3 s s"], sisms: Float[Tensor, "n 1 s s"]) -> tuple[Tensor, ...]:
        """SIVs of the three blocks."""
        return self.model.pool_cues(self.model.encode(images, low=False), sisms).sivs


class MapsGraph(nn.Module):
    """Co-saliency maps [n, 1, s, s] in [0, 1], and the weights of the group's SIVs in them, [n, m]."""

    def __init__(self, model: ICNet) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, images: Float[Tensor, "n 3 s s"], sisms: Float[Tensor, "n 1 s s"], *sivs: Float[Tensor, "m 2 _"]
    ) -> tuple[Tensor, Tensor]:
        """Maps and weights of images whose group has these SIVs."""
        found = self.model.predict(images, sisms, Cues(sivs))
        return found.maps, found.weights


def export_onnx(model: ICNet, folder: Path) -> dict[str, float]:
    """Write both graphs into `folder`; returns the difference from PyTorch of each output (`check_graphs`).

    Raises OnnxExportError for a model with several looks, without the packages onnx, onnxscript and onnxruntime, and if
    an output differs from PyTorch's by more than TOLERANCE.
    """
    if model.config.looks > 1:
        raise OnnxExportError(f"the graphs have one look, this network has looks: {model.config.looks}")
    _require_packages()
    fast = optimize(model).cpu()
    fast.channels_last = False
    fast.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(0)
    images, sisms = make_inputs(fast.config.size, TRACED_IMAGES, generator)
    with torch.inference_mode():
        others, saliency = make_inputs(fast.config.size, TRACED_SIVS, generator)
        sivs = [one.clone() for one in fast.pool_cues(fast.encode(others, low=False), saliency).sivs]
    n, m = torch.export.Dim("n"), torch.export.Dim("m")
    folder.mkdir(parents=True, exist_ok=True)
    facts = describe(model)
    with _quiet():
        _write_graph(CuesGraph(fast), (images, sisms), ({0: n}, {0: n}), SIVS, folder / CUES_FILE, facts)
        shapes = ({0: n}, {0: n}, tuple({0: m} for _ in sivs))
        _write_graph(MapsGraph(fast), (images, sisms, *sivs), shapes, ("maps", "weights"), folder / MAPS_FILE, facts)
    return check_graphs(fast, folder, generator)


def describe(model: ICNet) -> dict[str, str]:
    """What a user of the graphs needs to know, stored in their metadata: side, mean and deviation of the input."""
    facts = {"size": model.config.size, "mean": list(MEAN), "std": list(STD), "backbone": model.config.backbone}
    return {key: str(value) for key, value in facts.items()}


def check_graphs(model: ICNet, folder: Path, generator: torch.Generator) -> dict[str, float]:
    """Compare the graphs in onnxruntime with PyTorch, also for empty SISMs; returns the difference of each output.

    For SIVs and weights that is the largest one. Channels of an RSCF whose CSA values are nearly equal change places by
    rounding, in PyTorch too, so some maps differ more. A wrong graph has no map that is right, so for `maps` it is the
    largest difference of a map that a quarter of the images stay below. Raises OnnxExportError above TOLERANCE.
    """
    sessions = {name: open_session(folder / name) for name in (CUES_FILE, MAPS_FILE)}
    largest: dict[str, float] = {}
    of_maps: dict[bool, list[float]] = {False: [], True: []}
    for size, empty in product(CHECKED_SIZES, (False, True)):
        images, sisms = make_inputs(model.config.size, size, generator)
        sisms = torch.zeros_like(sisms) if empty else sisms
        with torch.inference_mode():
            cues = model.pool_cues(model.encode(images, low=False), sisms)
            expected = model.predict(images, sisms, cues)
        given = {"images": images.numpy(), "sisms": sisms.numpy()}
        sivs = dict(zip(SIVS, sessions[CUES_FILE].run(list(SIVS), given), strict=True))
        maps, weights = sessions[MAPS_FILE].run(["maps", "weights"], given | sivs)
        pairs = {name: (sivs[name], tensor) for name, tensor in zip(SIVS, cues.sivs, strict=True)}
        pairs["weights"] = weights, expected.weights
        for name, (values, tensor) in pairs.items():
            largest[name] = max(largest.get(name, 0.0), float(np.abs(values - tensor.numpy()).max()))
        of_maps[empty] += np.abs(maps - expected.maps.numpy()).max(axis=(1, 2, 3)).tolist()
    largest["maps"] = max(float(np.quantile(one, 0.25, method="lower")) for one in of_maps.values())
    if far := {name: value for name, value in largest.items() if not value <= TOLERANCE}:
        raise OnnxExportError(f"the graphs differ from the network: {far}")
    return largest


def make_inputs(side: int, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random images [n, 3, side, side] and SISMs [n, 1, side, side], smooth as those of photographs: in noise, more CSA
    values are nearly equal."""
    coarse = (side // SMOOTHNESS,) * 2
    images, sisms = torch.randn(n, 3, *coarse, generator=generator), torch.rand(n, 1, *coarse, generator=generator)
    return resize(images, (side, side)), resize(sisms, (side, side))


def open_session(file: Path, num_threads: int = 0) -> Any:
    """An onnxruntime session on the CPU; 0 threads: as many as cores."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _write_graph(
    graph: nn.Module,
    inputs: tuple[Tensor, ...],
    shapes: tuple[Any, ...],
    outputs: Sequence[str],
    file: Path,
    facts: dict[str, str],
) -> None:
    names = ["images", "sisms", *SIVS][: len(inputs)]
    program = torch.onnx.export(
        graph.eval(),
        inputs,
        input_names=names,
        output_names=list(outputs),
        dynamic_shapes=shapes,
        opset_version=OPSET,
        dynamo=True,
        custom_translation_table={torch.ops.aten.sort.stable: _translate_stable_sort},
        verbose=False,
        optimize=False,  # the optimizer drops additions of small numbers, which keep maps of empty SISMs from 0 / 0
    )
    if program is None:
        raise OnnxExportError(f"{file.name} could not be made")
    program.model.metadata_props.update(facts)
    temporary = file.with_suffix(".part")
    program.save(str(temporary))
    temporary.replace(file)


def _translate_stable_sort(values: Any, stable: bool = False, dim: int = -1, descending: bool = False) -> Any:
    """TopK of all values: of equal ones, ONNX takes the one with the lower index first, as a stable sort does."""
    from onnxscript import opset20

    count = opset20.Gather(opset20.Shape(values), opset20.Constant(value_ints=[dim]))  # type: ignore[type-var]
    return opset20.TopK(values, count, axis=dim, largest=int(descending), sorted=1)


def _require_packages() -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise OnnxExportError(f"the export needs the package {package}: pip install 'icnet[onnx]'")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's messages about its own progress."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
