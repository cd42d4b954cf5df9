"""The registered model: a group of photographs in, their co-saliency maps out.

MLflow runs this file from inside a logged model (models from code), beside a copy of `icnet`; it imports nothing else
of this project. One row is one photograph: `image`, and if wanted `sism`, `group` and `name`.
"""

import base64
import binascii
import os
from collections.abc import Callable
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
"""Set by `mlflow models serve`: requests come from elsewhere then, and no string of theirs is opened as a file."""
LONGEST_PATH = 4096


class Cosaliency(PythonModel):
    """ICNet with a SOD method of its own for photographs that come without SISMs."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the weights and make the SOD method that the model was logged with."""
        keep_freed_blocks()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.predictor = Predictor(optimize(checkpoint.load(context.artifacts["model"], device)))
        spec = context.model_config["register.sod"]
        self.method = sod.make_method(spec.replace("{sod}", context.artifacts.get("sod", "")), device)
        self.device = device

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Maps at the photographs' original sizes, in their order, as PNG bytes or with params output=array as uint8.

        Photographs are bytes of image files, base64, paths (not over HTTP) or uint8 arrays; rows of the same `group`
        are one group, without that column all are.
        """
        rows = model_input.reset_index(drop=True)
        groups = rows["group"].fillna("").astype(str) if "group" in rows else pd.Series([""] * len(rows))
        names = rows["name"] if "name" in rows else pd.Series(range(len(rows)))
        photographs = [_picture(value, f"image {n}", images.decode) for n, value in enumerate(rows["image"])]
        sisms = self._sisms(rows, photographs)
        found: list[np.ndarray | None] = [None] * len(rows)
        for group in groups.unique():
            members = np.flatnonzero(groups == group)
            maps = self._group([photographs[n] for n in members], [sisms[n] for n in members])
            for n, map_ in zip(members, maps, strict=True):
                found[n] = map_
        as_array = (params or {}).get("output", "png") == "array"
        maps = found if as_array else [images.encode(map_) for map_ in found]
        return pd.DataFrame({"group": groups, "name": names.astype(str), "map": pd.Series(maps, dtype=object)})

    def _sisms(self, rows: pd.DataFrame, photographs: list[np.ndarray]) -> list[np.ndarray]:
        given = rows["sism"].tolist() if "sism" in rows else [None] * len(rows)
        return [
            images.quantize(self.method(photograph))
            if value is None or (isinstance(value, float) and np.isnan(value))
            else _picture(value, f"sism {n}", images.decode_gray)
            for n, (value, photograph) in enumerate(zip(given, photographs, strict=True))
        ]

    @torch.no_grad()
    def _group(self, photographs: list[np.ndarray], sisms: list[np.ndarray]) -> list[np.ndarray]:
        side = (self.predictor.model.config.size,) * 2
        pictures = images.normalize(np.stack([images.resize(one, side) for one in photographs]))
        saliency = images.scale_maps(np.stack([images.resize(one, side) for one in sisms]))
        maps = self.predictor.predict(pictures.to(self.device), saliency.to(self.device)).maps[:, 0]
        return [
            images.resize(images.quantize(map_), one.shape[:2]) for map_, one in zip(maps, photographs, strict=True)
        ]


def _picture(value: Any, place: str, decode: Callable[[bytes], np.ndarray]) -> np.ndarray:
    """The picture that a cell holds; an error names the cell."""
    try:
        if isinstance(value, np.ndarray):
            return _array(value, 3 if decode is images.decode else 2)
        return decode(value if isinstance(value, bytes) else _bytes(value))
    except (ValueError, OSError) as error:
        raise MlflowException.invalid_parameter_value(f"{place}: {error}") from error


def _array(value: np.ndarray, axes: int) -> np.ndarray:
    if value.dtype != np.uint8 or value.ndim != axes or value.shape[2:] not in ((), (3,)):
        wanted = "[H, W, 3]" if axes == 3 else "[H, W]"
        raise ValueError(f"expected uint8 {wanted}, got {value.dtype} {list(value.shape)}")
    return value


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    text = str(value)
    if SERVED not in os.environ and len(text) < LONGEST_PATH and Path(text).is_file():
        return Path(text).read_bytes()
    try:
        return base64.b64decode("".join(text.split()).rpartition("base64,")[2], validate=True)
    except binascii.Error:
        raise ValueError(f"is neither a file nor base64 of one: {text[:80]!r}") from None


set_model(Cosaliency())
