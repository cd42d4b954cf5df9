"""ICNet as ONNX graphs, for groups of any size without PyTorch.

    cues.onnx        images, sisms -> sivs_4, sivs_5, sivs_6
    next_cues.onnx   images, sisms, sivs_4, sivs_5, sivs_6 -> next_sivs_4, next_sivs_5, next_sivs_6
    maps.onnx        images, sisms, sivs_4, sivs_5, sivs_6 -> maps, weights

`cues` gives the SIVs of any images of a group. Those of all its images, concatenated, are an input of `maps`, which may
again get the images in parts. So a group of any size is two passes over batches of its images. A network with several
looks (`Config.looks`) has `next_cues` too: a pass with it, before the maps, gives the SIVs of the next look.

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
from numpy.typing import NDArray
from torch import Tensor, nn

from icnet.config import Config
from icnet.correlation import Cues
from icnet.images.arrays import MEAN, STD
from icnet.inference import optimize
from icnet.layers import resize
from icnet.model import STAGES, ICNet

OPSET = 20
"""Version of ONNX's operators in both graphs."""
TOLERANCE = 1e-4
"""Largest difference from PyTorch that an export may have (`check_graphs`)."""
CUES_FILE, NEXT_CUES_FILE, MAPS_FILE = "cues.onnx", "next_cues.onnx", "maps.onnx"
SIVS = tuple(f"sivs_{stage}" for stage in STAGES)
NEXT_SIVS = tuple(f"next_{name}" for name in SIVS)
CHECKED_SIZES = (2, 5)
"""Images of the groups that an export is checked with; the graphs are traced with other ones."""

SMOOTHNESS = 14
"""Pixels between the random values of an image to check with."""
TRACED_IMAGES, TRACED_SIVS = 3, 4

Arrays = dict[str, NDArray[np.float32]]
"""Inputs or outputs of a graph by name."""


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


class NextCuesGraph(nn.Module):
    """The SIVs of the next look, of images whose group has these SIVs, [n, 2, c]."""

    def __init__(self, model: ICNet) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, images: Float[Tensor, "n 3 s s"], sisms: Float[Tensor, "n 1 s s"], *sivs: Float[Tensor, "m 2 _"]
    ) -> tuple[Tensor, ...]:
        """SIVs of the three blocks."""
        features = self.model.encode(images, low=False)
        return self.model.pool_again(features, sisms, [(sisms.shape[0], Cues(sivs))]).sivs


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


class Graphs:
    """The graphs in a folder, in onnxruntime on the CPU; 0 threads: as many as cores."""

    def __init__(self, folder: Path, num_threads: int = 0) -> None:
        self.cues, self.maps = (open_session(folder / name, num_threads) for name in (CUES_FILE, MAPS_FILE))
        facts = self.maps.get_modelmeta().custom_metadata_map
        self.size, self.looks = int(facts["size"]), int(facts["looks"])
        self.next_cues = open_session(folder / NEXT_CUES_FILE, num_threads) if self.looks > 1 else None

    def find_sivs(self, batches: Sequence[Arrays]) -> Arrays:
        """The SIVs of a group's last look. `batches`: "images" [n, 3, s, s] and "sisms" [n, 1, s, s] of its images."""
        sivs = self.run_cues(batches)
        for _ in range(self.looks - 1):
            sivs = self.run_next_cues(batches, sivs)
        return sivs

    def run_cues(self, batches: Sequence[Arrays]) -> Arrays:
        """The SIVs of a group's first look."""
        return _join_sivs([self.cues.run(list(SIVS), batch) for batch in batches])

    def run_next_cues(self, batches: Sequence[Arrays], sivs: Arrays) -> Arrays:
        """The SIVs of the look after that of `sivs`. Raises OnnxExportError where the network has one look."""
        if self.next_cues is None:
            raise OnnxExportError(f"a network with one look has no {NEXT_CUES_FILE}")
        return _join_sivs([self.next_cues.run(list(NEXT_SIVS), batch | sivs) for batch in batches])

    def predict(self, batch: Arrays, sivs: Arrays) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Maps [n, 1, s, s] and weights [n, m] of images of a group that has these SIVs."""
        maps, weights = self.maps.run(["maps", "weights"], batch | sivs)
        return maps, weights


def list_graphs(config: Config) -> list[str]:
    """The files of a network's graphs."""
    return [CUES_FILE, *([NEXT_CUES_FILE] if config.looks > 1 else []), MAPS_FILE]


def export_onnx(model: ICNet, folder: Path) -> dict[str, float]:
    """Write the graphs into `folder`; returns the difference from PyTorch of each output (`check_graphs`).

    Raises OnnxExportError without the packages onnx, onnxscript and onnxruntime, and if an output differs from
    PyTorch's by more than TOLERANCE.
    """
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
        inputs, shapes = (images, sisms, *sivs), ({0: n}, {0: n}, tuple({0: m} for _ in sivs))
        if model.config.looks > 1:
            _write_graph(NextCuesGraph(fast), inputs, shapes, NEXT_SIVS, folder / NEXT_CUES_FILE, facts)
        _write_graph(MapsGraph(fast), inputs, shapes, ("maps", "weights"), folder / MAPS_FILE, facts)
    return check_graphs(fast, folder, generator)


def describe(model: ICNet) -> dict[str, str]:
    """What a user of the graphs needs to know, for their metadata: looks, and side, mean, deviation of the input."""
    config = model.config
    facts = {"size": config.size, "mean": list(MEAN), "std": list(STD), "looks": config.looks}
    facts["backbone"] = config.backbone
    return {key: str(value) for key, value in facts.items()}


def check_graphs(model: ICNet, folder: Path, generator: torch.Generator) -> dict[str, float]:
    """Compare each graph in onnxruntime with PyTorch, with equal inputs, also for empty SISMs; returns the differences.

    For SIVs and weights that is the largest one. Channels of an RSCF whose CSA values are nearly equal change places by
    rounding, in PyTorch too, so some maps differ more, and the SIVs that a next look pools from such maps. A wrong
    graph has no image that is right, so for `maps` and `next_sivs` it is the largest difference of an image that a
    quarter of the images stay below. Raises OnnxExportError above TOLERANCE.
    """
    graphs = Graphs(folder)
    largest: dict[str, float] = {}
    of_images: dict[tuple[str, bool], list[float]] = {}
    for size, empty in product(CHECKED_SIZES, (False, True)):
        images, sisms = make_inputs(model.config.size, size, generator)
        sisms = torch.zeros_like(sisms) if empty else sisms
        given = {"images": images.numpy(), "sisms": sisms.numpy()}
        with torch.inference_mode():
            features = model.encode(images, low=False)
            cues = model.pool_cues(features, sisms)
            sivs = _name_sivs(cues)
            pairs = {name: (found, sivs[name]) for name, found in graphs.run_cues([given]).items()}
            if graphs.looks > 1:
                cues = model.pool_again(features, sisms, [(size, cues)])
                found, sivs = graphs.run_next_cues([given], sivs), _name_sivs(cues)
                errors = [np.abs(found[name] - sivs[name]).max(axis=(1, 2)) for name in SIVS]
                of_images.setdefault(("next_sivs", empty), []).extend(np.max(errors, axis=0).tolist())
            expected = model.predict(images, sisms, cues)
        maps, weights = graphs.predict(given, sivs)
        pairs["weights"] = weights, expected.weights.numpy()
        for name, (values, right) in pairs.items():
            largest[name] = max(largest.get(name, 0.0), float(np.abs(values - right).max()))
        errors_of_maps = np.abs(maps - expected.maps.numpy()).max(axis=(1, 2, 3))
        of_images.setdefault(("maps", empty), []).extend(errors_of_maps.tolist())
    for (name, _), differences in of_images.items():
        largest[name] = max(largest.get(name, 0.0), float(np.quantile(differences, 0.25, method="lower")))
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


def _name_sivs(cues: Cues) -> Arrays:
    return {name: sivs.numpy() for name, sivs in zip(SIVS, cues.sivs, strict=True)}


def _join_sivs(parts: Sequence[Sequence[NDArray[np.float32]]]) -> Arrays:
    return {name: np.concatenate(blocks) for name, blocks in zip(SIVS, zip(*parts, strict=True), strict=True)}


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
