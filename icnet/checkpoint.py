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


class CheckpointError(ValueError):
    """A file that is not a checkpoint of this network; the message names the file and what is wrong with it."""


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
        model = from_official(state) if "config" not in facts else ICNet(Config(**facts["config"]))
        if "config" in facts:
            model.load_state_dict(state)
    except (RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{file}: {error}") from error
    return model.to(device, memory_format=torch.channels_last).eval()


def metadata(file: str | Path) -> dict[str, Any]:
    """What `save` was told beside the weights, and `config`. Raises CheckpointError where it is not ours."""
    if not Path(file).is_file():
        raise FileNotFoundError(f"there is no checkpoint at {file}")
    try:
        with safe_open(file, framework="pt") as content:
            return {key: json.loads(value) for key, value in (content.metadata() or {}).items()}
    except (SafetensorError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{file} is not a checkpoint that icnet saved: {error}") from error


def from_official(state: dict[str, Tensor]) -> ICNet:
    """Our network with the weights of the authors' state dict; alpha, which they do not have, is 1.

    Raises CheckpointError where keys are missing, unknown or of another shape.
    """
    renamed = {_renamed(key.removeprefix("module.")): tensor for key, tensor in state.items()}
    if (coarsest := renamed.get("blocks.6.project.weight")) is None:
        raise CheckpointError("not a state dict of ICNet: there is no `Co6.cosal_feat.conv.0.weight`")
    model = ICNet(Config(size=32 * round(coarsest.shape[1] ** 0.5)))
    model.to(coarsest.dtype)
    alphas = {key: tensor for key, tensor in model.state_dict().items() if key.endswith(".alpha")}
    try:
        model.load_state_dict(renamed | alphas)
    except RuntimeError as error:
        raise CheckpointError(f"the authors' state dict does not fit: {error}") from error
    return model


def _read(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not file.is_file():
        raise FileNotFoundError(f"there is no checkpoint at {file}")
    try:
        with safe_open(file, framework="pt") as content:
            state = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118 (not a dict)
        return state, metadata(file)
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


RENAMED = {
    "vgg.vgg.": "backbone.vgg.",
    "conv6_cmprs.2.": "backbone.top.2.0.",
    "conv6_cmprs.3.": "backbone.top.2.1.",
    "conv6_cmprs.5.": "backbone.top.4.0.",
    "conv6_cmprs.6.": "backbone.top.4.1.",
    "conv6_cmprs.8.": "backbone.top.6.",
    "conv6_cmprs.": "backbone.top.",
    "conv5_cmprs.": "compress.5.",
    "conv4_cmprs.": "compress.4.",
    "merge_co_56.": "fuse56.",
    "merge_co_45.0.": "fuse45.0.",
    "merge_co_45.": "fuse45.",
    "get_pred_4.pred.0.": "decoder.head.",
    **{f"Co{k}.cosal_feat.conv.0.": f"blocks.{k}.project." for k in (4, 5, 6)},
    **{f"Co{k}.cosal_feat.conv.1.": f"blocks.{k}.branch." for k in (4, 5, 6)},
    **{f"Co{k}.conv.0.": f"blocks.{k}.join." for k in (4, 5, 6)},
    **{f"Co{k}.conv.1.": f"blocks.{k}.joined." for k in (4, 5, 6)},
    **{f"refine_{k}.": f"decoder.stages.{3 - k}." for k in (3, 2, 1)},
    "conv.0.": "first.0.",
    "conv.1.": "first.1.",
    "conv.3.": "second.",
    "cmprs.": "compress.",
    "merge_conv.0.": "widen.0.",
    "merge_conv.1.": "widen.1.",
    "merge_conv.3.": "narrow.0.",
    "merge_conv.4.": "narrow.1.",
    "pred.pred.0.": "head.",
}
"""The authors' prefixes and ours, read from the left: the part first, then the layer in it."""


def _renamed(key: str) -> str:
    done = ""
    while match := next((old for old in RENAMED if key.startswith(old)), None):
        done, key = done + RENAMED[match], key[len(match) :]
    return done + key
