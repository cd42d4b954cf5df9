"""Checkpoints: ours are safetensors files with the config inside; the authors' are converted when they are loaded."""

import json
import os
import secrets
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from icnet.config import Config
from icnet.model import ICNet
from icnet.official import CheckpointError, convert_official

WEIGHTS_FILE = Path(__file__).resolve().parents[1] / "weights" / "icnet.safetensors"
"""The trained network of this repository; weights/README.md describes it."""

DEFAULT_SISM_METHOD = "gc"
"""SOD method of checkpoints that do not name one in their metadata."""

RENAMED_FIELDS = {"summed": "cfm_sum"}
"""Older names of fields of Config, which older checkpoints hold."""


def save(model: ICNet, file: str | Path, **metadata: Any) -> None:
    """Write weights, config and `metadata` (values that JSON can hold) to a safetensors file, completely or not.

    Weights of a frozen backbone are stored in half precision where that loses nothing.
    """
    file = Path(file)
    state = {key: tensor.detach().cpu().contiguous() for key, tensor in model.state_dict().items()}
    if model.backbone.frozen:
        state |= {key: _halve(tensor) for key, tensor in state.items() if key.startswith("backbone.")}
    described = {"config": asdict(model.config), **metadata}
    content = safetensors.torch.save(state, {key: json.dumps(value) for key, value in described.items()})
    temporary = file.with_name(f".{secrets.token_hex(16)}.part")
    try:
        with temporary.open("xb") as handle:  # a new file: nobody's link is followed
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def load(file: str | Path = WEIGHTS_FILE, device: torch.device | str = "cpu") -> ICNet:
    """Load the network of a checkpoint, ours or the authors', in evaluation mode. Default: the trained network of
    this repository.

    Raises FileNotFoundError where there is no file, CheckpointError where it is not a checkpoint of this network or
    its weights are not finite.
    """
    model = build(*read_state(file), file)
    model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.eval()


def read_metadata(file: str | Path) -> dict[str, Any]:
    """The `metadata` given to `save`, and `config`. Raises CheckpointError where the file is not ours."""
    if not Path(file).is_file():
        raise FileNotFoundError(f"there is no checkpoint at {file}")
    try:
        with safe_open(file, framework="pt") as content:
            return {key: json.loads(value) for key, value in (content.metadata() or {}).items()}
    except (SafetensorError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{file} is not a checkpoint that icnet saved: {error}") from error


def read_config(file: str | Path) -> Config:
    """The config of a checkpoint without its weights. The authors' checkpoints have none: then it is the default.

    Raises FileNotFoundError where there is no file, CheckpointError where the config is not valid.
    """
    try:
        fields = read_metadata(file).get("config")
    except CheckpointError:
        return Config()
    try:
        return Config() if fields is None else _read_config(fields)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{file}: {error}") from error


def read_sism_method(file: str | Path) -> str:
    """The SOD method that a checkpoint was trained with; `{folder}` in its metadata is the folder of the checkpoint."""
    try:
        method = read_metadata(file).get("sism_method")
    except CheckpointError:  # the authors' checkpoints have no metadata
        method = None
    return (
        method.replace("{folder}", str(Path(file).resolve().parent)) if isinstance(method, str) else DEFAULT_SISM_METHOD
    )


def read_state(file: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file or of torch.save, and the metadata of the former, still as text.

    Raises FileNotFoundError where there is no file, CheckpointError where it holds no tensors by name.
    """
    if not Path(file).is_file():
        raise FileNotFoundError(f"there is no checkpoint at {file}")
    try:
        with safe_open(file, framework="pt") as content:
            state = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118 (not a dict)
            return state, content.metadata() or {}
    except SafetensorError:
        pass
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{file} is neither safetensors nor weights that torch loads: {error}") from error
    found = found.get("state_dict", found) if isinstance(found, dict) else found
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise CheckpointError(f"{file} holds no state dict")
    return found, {}


def build(state: dict[str, Tensor], metadata: dict[str, str], file: str | Path) -> ICNet:
    """The network of what `read_state` found in a file. Raises CheckpointError where it is not a checkpoint."""
    if broken := [key for key, tensor in state.items() if not torch.isfinite(tensor).all()]:
        raise CheckpointError(f"{file}: `{broken[0]}` holds NaN or infinite values")
    try:
        if "config" not in metadata:
            return convert_official(state)
        model = ICNet(_read_config(json.loads(metadata["config"])))
        model.load_state_dict(state)
    except (RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{file}: {error}") from error
    return model


def _read_config(fields: dict[str, Any]) -> Config:
    """A config from the fields in a checkpoint, which may have older names."""
    known = {RENAMED_FIELDS.get(name, name): value for name, value in fields.items()}
    if known.get("cfm_sum") == "normalised":
        known["cfm_sum"] = "normalized"
    return Config(**known)


def _halve(tensor: Tensor) -> Tensor:
    half = tensor.half() if tensor.is_floating_point() else tensor
    return half if torch.equal(half.to(tensor.dtype), tensor) else tensor
