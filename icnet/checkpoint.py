"""Weights on disk: ours in safetensors with the config inside, the authors' files converted on the way in."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from icnet.config import Config
from icnet.model import ICNet
from icnet.official import CheckpointError, convert_official


def save(model: ICNet, file: str | Path, **metadata: Any) -> None:
    """Write weights, config and `metadata` (what JSON can hold) to one safetensors file, whole or not at all."""
    file = Path(file)
    state = {key: tensor.detach().cpu().contiguous() for key, tensor in model.state_dict().items()}
    facts = {"config": asdict(model.config), **metadata}
    temporary = file.with_name(f".{file.name}.{os.getpid()}.part")
    save_file(state, temporary, metadata={key: json.dumps(value) for key, value in facts.items()})
    temporary.replace(file)


def load(file: str | Path, device: torch.device | str = "cpu") -> ICNet:
    """The network in a file of ours or of the authors, in evaluation mode.

    Raises CheckpointError where it is neither, FileNotFoundError where there is none.
    """
    state, facts = _read(Path(file))
    try:
        model = convert_official(state) if "config" not in facts else ICNet(Config(**facts["config"]))
        if "config" in facts:
            model.load_state_dict(state)
    except (RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{file}: {error}") from error
    return model.to(device, memory_format=torch.channels_last).eval()


def read_metadata(file: str | Path) -> dict[str, Any]:
    """What `save` was told beside the weights, and `config`. Raises CheckpointError where it is not ours."""
    if not Path(file).is_file():
        raise FileNotFoundError(f"there is no checkpoint at {file}")
    try:
        with safe_open(file, framework="pt") as content:
            return {key: json.loads(value) for key, value in (content.metadata() or {}).items()}
    except (SafetensorError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{file} is not a checkpoint that icnet saved: {error}") from error


def _read(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not file.is_file():
        raise FileNotFoundError(f"there is no checkpoint at {file}")
    try:
        with safe_open(file, framework="pt") as content:
            state = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118 (not a dict)
        return state, read_metadata(file)
    except SafetensorError:
        pass
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{file} is neither safetensors nor weights that torch loads: {error}") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{file} holds no state dict")
    return state, {}
