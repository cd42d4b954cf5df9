"""The registered model: photographs of a group in, their co-saliency maps out.

MLflow runs this file inside a logged model (models from code), next to a copy of `icnet`. It imports nothing else of
this project. One row is one photograph: `image`, and optionally `sism`, `group` and `name`.
"""

import base64
import binascii
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from icnet import checkpoint, images, sod
from icnet.inference import Predictor, optimize
from icnet.memory import keep_freed_blocks

SERVED = "__pyfunc_model_path__"
"""Variable that `mlflow models serve` sets. Requests come from a network then: limits apply, and no text of a request
is opened as a file."""

MAX_IMAGES = 100
"""Photographs in a served request."""

MAX_BYTES = 32 << 20
"""Bytes of an image file in a served request."""

MAX_PIXELS = 50_000_000
"""Pixels of an image in a served request."""

MAX_TOTAL_PIXELS = 200_000_000
"""Pixels of all photographs of a served request, which are in memory together at 3 bytes a pixel."""

LONGEST_PATH = 4096
"""Characters of a path. A longer text is base64."""

Decode = Callable[[bytes], np.ndarray]


class Cosaliency(PythonModel):
    """ICNet, with a SOD method for photographs that come without SISMs."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the weights and the SOD method."""
        keep_freed_blocks()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.predictor = Predictor(optimize(checkpoint.load(context.artifacts["model"], device)))
        spec = context.model_config["register.sod"]
        self.method = sod.make_method(spec.replace("{sod}", context.artifacts.get("sod", "")), device)
        self.device = device

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Maps at the sizes of the photographs, in their order: PNG bytes, or uint8 arrays with params output=array.

        Photographs are bytes of image files, base64, paths (not in served requests) or uint8 arrays. Rows with the same
        `group` are one group. Without that column all rows are one group. Raises MlflowException, which is status 400
        in a served request, for what is not an image and for requests above the limits.
        """
        rows = model_input.reset_index(drop=True)
        photographs, sisms = self._read_images(rows)
        groups = rows["group"].fillna("").astype(str) if "group" in rows else pd.Series([""] * len(rows))
        names = rows["name"] if "name" in rows else pd.Series(range(len(rows)))
        found: list[np.ndarray | None] = [None] * len(rows)
        for group in groups.unique():
            members = np.flatnonzero(groups == group)
            maps = self._predict_group([photographs[n] for n in members], [sisms[n] for n in members])
            for n, map_ in zip(members, maps, strict=True):
                found[n] = map_
        as_array = (params or {}).get("output", "png") == "array"
        maps = found if as_array else [images.encode(map_) for map_ in found]
        return pd.DataFrame({"group": groups, "name": names.astype(str), "map": pd.Series(maps, dtype=object)})

    def _read_images(self, rows: pd.DataFrame) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The photographs and their SISMs. All cells are checked before the first is decoded."""
        cells = [_read_cell(value, f"image {n}") for n, value in enumerate(rows["image"])]
        given = rows["sism"].tolist() if "sism" in rows else [None] * len(rows)
        sisms = [None if _is_missing(value) else _read_cell(value, f"sism {n}") for n, value in enumerate(given)]
        if SERVED in os.environ:
            _check_limits(cells, sisms)
        photographs = [_decode_cell(cell, f"image {n}", images.decode) for n, cell in enumerate(cells)]
        return photographs, [
            images.quantize(self.method(photograph))
            if cell is None
            else _decode_cell(cell, f"sism {n}", images.decode_gray)
            for n, (cell, photograph) in enumerate(zip(sisms, photographs, strict=True))
        ]

    @torch.no_grad()
    def _predict_group(self, photographs: list[np.ndarray], sisms: list[np.ndarray]) -> list[np.ndarray]:
        side = (self.predictor.model.config.size,) * 2
        pictures = images.normalize(np.stack([images.resize(one, side) for one in photographs]))
        saliency = images.scale_maps(np.stack([images.resize(one, side) for one in sisms]))
        maps = self.predictor.predict(pictures.to(self.device), saliency.to(self.device)).maps[:, 0]
        return [
            images.resize(images.quantize(map_), one.shape[:2]) for map_, one in zip(maps, photographs, strict=True)
        ]


def _check_limits(cells: list[bytes | np.ndarray], sisms: Iterable[bytes | np.ndarray | None]) -> None:
    """Refuse a request that would take too much memory or time. Sizes are read from the headers of the files."""
    if len(cells) > MAX_IMAGES:
        raise _refuse(f"a request may hold {MAX_IMAGES} images, this one holds {len(cells)}: send fewer at a time")
    total = sum(_check_image(cell, f"image {n}") for n, cell in enumerate(cells))
    total += sum(_check_image(cell, f"sism {n}") for n, cell in enumerate(sisms) if cell is not None)
    if total > MAX_TOTAL_PIXELS:
        raise _refuse(
            f"a request may hold {MAX_TOTAL_PIXELS:,} pixels, this one holds {total:,}: send fewer or smaller"
        )


def _check_image(cell: bytes | np.ndarray, place: str) -> int:
    """The number of pixels of an image."""
    if isinstance(cell, bytes) and len(cell) > MAX_BYTES:
        raise _refuse(f"{place}: a file may have {MAX_BYTES:,} bytes, this one has {len(cell):,}")
    try:
        height, width = cell.shape[:2] if isinstance(cell, np.ndarray) else images.read_size(cell)
    except images.ImageError as error:
        raise _refuse(f"{place}: {error}") from error
    if height * width > MAX_PIXELS:
        raise _refuse(f"{place}: an image may have {MAX_PIXELS:,} pixels, this one has {height * width:,}")
    return int(height * width)


def _refuse(reason: str) -> MlflowException:
    return MlflowException.invalid_parameter_value(reason)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


def _read_cell(value: Any, place: str) -> bytes | np.ndarray:
    """The array or the bytes of the image file that a cell holds. Errors name the cell."""
    if isinstance(value, np.ndarray):
        return value
    try:
        return value if isinstance(value, bytes) else _read_bytes(value)
    except (ValueError, OSError) as error:
        raise _refuse(f"{place}: {error}") from error


def _read_bytes(value: Any) -> bytes:
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    text = str(value)
    if SERVED not in os.environ and len(text) < LONGEST_PATH and Path(text).is_file():
        return Path(text).read_bytes()
    try:
        return base64.b64decode("".join(text.split()).rpartition("base64,")[2], validate=True)
    except binascii.Error:
        raise ValueError(f"is neither a file nor base64 of one: {text[:80]!r}") from None


def _decode_cell(cell: bytes | np.ndarray, place: str, decode: Decode) -> np.ndarray:
    try:
        if isinstance(cell, np.ndarray):
            return _check_array(cell, 3 if decode is images.decode else 2)
        return decode(cell)
    except ValueError as error:
        raise _refuse(f"{place}: {error}") from error


def _check_array(value: np.ndarray, axes: int) -> np.ndarray:
    if value.dtype != np.uint8 or value.ndim != axes or value.shape[2:] not in ((), (3,)):
        expected = "[H, W, 3]" if axes == 3 else "[H, W]"
        raise ValueError(f"expected uint8 {expected}, got {value.dtype} {list(value.shape)}")
    return value


set_model(Cosaliency())
