"""Three lines for photographs of any kind and size: `import icnet; model = icnet.load(); model.predict(photographs)`.

Legend: n photographs of a group, H x W px of a photograph, s px a side of the network's input.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from icnet import checkpoint, images, sod
from icnet.correlation import Cues
from icnet.images import Pixels
from icnet.inference import Predictor, average_siv_weights, optimize
from icnet.model import ICNet
from icnet.precision import PRECISIONS, resolve_precision

Photograph = str | PathLike[str] | bytes | Image.Image | np.ndarray | Tensor
"""A path, the bytes of a file, a PIL image, or an array: uint8 RGB [H, W, 3] or gray [H, W], or floats in [0, 1] of the
same shapes. A tensor may also be [3, H, W] or [1, H, W]."""

MAX_GROUP = 128
"""Photographs of a group that are in the network's memory together; a larger group takes several passes."""


class PhotographError(ValueError):
    """A photograph or a SISM that cannot be used. The message names it."""


@dataclass(frozen=True)
class CosaliencyMaps:
    """The maps of one group, in the order of its photographs."""

    maps: list[NDArray[np.float32]]
    """Co-saliency maps in [0, 1], each [H, W], the size of its photograph, in steps of 1/255."""
    sisms: list[NDArray[np.float32]]
    """The SISMs that they were made with, in [0, 1], each [s, s]."""
    weights: NDArray[np.float32]
    """Weight of each photograph in the CSA maps of the group, [n]: 1 is that of an average member, and photographs
    with a low weight have least in common with the others."""

    def __len__(self) -> int:
        return len(self.maps)

    def masks(self, threshold: float = 0.5) -> list[NDArray[np.bool_]]:
        """Where the maps are above `threshold`, each [H, W]."""
        return [one > threshold for one in self.maps]


class CosaliencyModel:
    """A network and a SOD method, ready for photographs. It holds a copy: later changes of `network` do not reach it.

    `sism_method`: makes the SISMs that are not given (docs/sod.md). `batch_size`: images that go through the network at
    once. `precision`: `float32`, `bf16`, or `auto`, which is bf16 where the device computes it fast. `device`: None is
    a GPU if there is one. `looks`: how often a group is compared; None takes the network's own number. Raises
    ValueError if it is not 1, 2 or 3.
    """

    def __init__(
        self,
        network: ICNet,
        sism_method: str,
        batch_size: int = 8,
        precision: str = "auto",
        device: torch.device | str | None = None,
        looks: int | None = None,
    ) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.side = (network.config.size, network.config.size)
        dtype = PRECISIONS[resolve_precision(precision, self.device)]
        self.predictor = Predictor(optimize(network, dtype).to(self.device), batch_size, looks=looks)
        self.sism_method = sism_method

    @overload
    def predict(
        self, photographs: Sequence[Photograph], sisms: Sequence[Photograph] | None = None
    ) -> CosaliencyMaps: ...

    @overload
    def predict(
        self, photographs: Mapping[str, Sequence[Photograph]], sisms: Mapping[str, Sequence[Photograph]] | None = None
    ) -> dict[str, CosaliencyMaps]: ...

    def predict(self, photographs: Any, sisms: Any = None) -> Any:
        """The maps of one group, a list of photographs, or of several, a mapping from names to lists.

        `sisms`: theirs, in the same form; without them the SOD method makes them. Raises PhotographError for a
        photograph or a SISM that cannot be used, SodError if the SOD method cannot be made.
        """
        if not isinstance(photographs, Mapping):
            return self.predict_group(photographs, sisms)
        if sisms is not None and not (isinstance(sisms, Mapping) and sisms.keys() == photographs.keys()):
            raise PhotographError("photographs and SISMs are not mappings with the same groups")
        return {
            group: self.predict_group(members, None if sisms is None else sisms[group])
            for group, members in photographs.items()
        }

    def predict_group(
        self, photographs: Sequence[Photograph], sisms: Sequence[Photograph] | None = None
    ) -> CosaliencyMaps:
        """The maps of one group. Raises PhotographError for one that cannot be used."""
        if isinstance(photographs, str | bytes | PathLike | Image.Image):
            raise TypeError("a group is a list of photographs, got one photograph")
        if sisms is not None and len(sisms) != len(photographs):
            raise PhotographError(f"{len(photographs)} photographs and {len(sisms)} SISMs: every photograph needs one")
        if not len(photographs):
            return CosaliencyMaps([], [], np.zeros(0, np.float32))
        sizes, inputs, saliency = [], [], []
        for number, photograph in enumerate(photographs):
            name = _describe(photograph, f"photograph {number}")
            pixels = _read(photograph, name, images.decode, colored=True)
            sizes.append(pixels.shape[:2])
            inputs.append(images.resize(pixels, self.side))
            saliency.append(
                images.resize(self._find_sism(pixels, name, None if sisms is None else sisms[number]), self.side)
            )
        maps, weights = self._run(np.stack(inputs), np.stack(saliency))
        resized = [images.resize(images.quantize(one), size) for one, size in zip(maps, sizes, strict=True)]
        return CosaliencyMaps([_scale(one) for one in resized], [_scale(one) for one in saliency], weights)

    def _find_sism(self, photograph: Pixels, name: str, given: Photograph | None) -> Pixels:
        if given is not None:
            return _read(given, f"the SISM of {name}", images.decode_gray, colored=False)
        method = _make_method(self.sism_method, self.device)
        try:
            return images.quantize(method.batch([photograph], [("", name)])[0])
        except sod.DetectionError as error:
            raise PhotographError(f"{name}: {error}") from error

    @torch.inference_mode()
    def _run(self, inputs: Pixels, saliency: Pixels) -> tuple[list[np.ndarray], NDArray[np.float32]]:
        """Maps [s, s] and weights of a group of inputs [n, s, s, 3] and SISMs [n, s, s], both uint8."""
        starts, step = range(0, len(inputs), MAX_GROUP), MAX_GROUP

        def read(start: int) -> tuple[Tensor, Tensor]:
            part = slice(start, start + step)
            return images.normalize(inputs[part]).to(self.device), images.scale_maps(saliency[part]).to(self.device)

        cues: Cues | None = None
        if len(starts) > 1:
            cues = self.predictor.gather_cues(lambda: map(read, starts))
        maps: list[np.ndarray] = []
        weights = torch.zeros(len(inputs))
        for start in starts:
            found = self.predictor.predict(*read(start), cues)
            maps += list(found.maps[:, 0].float().cpu().numpy())
            weights += average_siv_weights(found.weights).cpu() * (len(found.maps) / len(inputs))
        return maps, weights.numpy()


def load(file: str | PathLike[str] = checkpoint.WEIGHTS_FILE, **options: Any) -> CosaliencyModel:
    """The model of a checkpoint, ours or the authors', with the SOD method that it was trained with.

    Default: the trained network of this repository. `options`: those of `CosaliencyModel`. Raises FileNotFoundError
    where there is no file, CheckpointError where it is not a checkpoint.
    """
    network = checkpoint.load(Path(file))
    return CosaliencyModel(network, **({"sism_method": checkpoint.read_sism_method(Path(file))} | options))


@cache
def _make_method(spec: str, device: torch.device) -> sod.Method:
    return sod.make_method(spec, device)


def _describe(photograph: Photograph, place: str) -> str:
    return f"{place} ({Path(photograph)})" if isinstance(photograph, str | PathLike) else place


def _read(photograph: Photograph, name: str, decode: Callable[[bytes], Pixels], colored: bool) -> Pixels:
    """Upright uint8 pixels: RGB [H, W, 3] if `colored`, else gray [H, W]."""
    try:
        if isinstance(photograph, str | PathLike):
            return decode(Path(photograph).read_bytes())
        if isinstance(photograph, bytes):
            return decode(photograph)
        if isinstance(photograph, Image.Image):
            return decode(images.encode_image(photograph))
        return _convert_array(photograph, colored)
    except OSError as error:
        raise PhotographError(f"{name}: cannot be read: {error.strerror or error}") from error
    except images.ImageError as error:
        raise PhotographError(f"{name}: {error}") from error


def _convert_array(values: np.ndarray | Tensor, colored: bool) -> Pixels:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if isinstance(values, Tensor) and array.ndim == 3 and array.shape[0] in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)) or not array.size:
        raise images.ImageError(f"is an array of shape {list(array.shape)}, not [H, W, 3] or [H, W]")
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise images.ImageError("holds floats outside [0, 1]")
        array = images.quantize(array)
    elif array.dtype == bool:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype != np.uint8:
        raise images.ImageError(f"is an array of {array.dtype}, not of uint8 or floats in [0, 1]")
    if colored:
        return np.ascontiguousarray(array if array.ndim == 3 else np.stack([array] * 3, axis=2))
    return np.ascontiguousarray(array if array.ndim == 2 else array.max(axis=2))


def _scale(map_: Pixels) -> NDArray[np.float32]:
    return map_.astype(np.float32) / np.float32(255)
