"""Files that hold the cues of large groups until their maps are predicted."""

from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from safetensors import safe_open
from torch import Tensor

from icnet.correlation import Cues
from pipeline.runtime import files


@dataclass(frozen=True)
class GroupPart:
    """The images of a large group that one shard holds: files of the group's results, and its first image there."""

    cues: str
    weights: str
    start: int


def save_cues(cues: Cues, file: Path) -> None:
    """Write cues to a file that is complete or absent."""
    _save_tensors({str(number): block for number, block in enumerate(cues.sivs)}, file)


def load_cues(file: str | Path) -> Cues:
    """Read the cues that `save_cues` wrote."""
    with safe_open(file, framework="pt") as content:
        blocks = [content.get_tensor(str(number)) for number in range(len(content.keys()))]
    return Cues(tuple(block.clone() for block in blocks))  # aligned memory: sums round as they do elsewhere


def save_weights(weights: Tensor, file: Path) -> None:
    """Write the weights [m] of a group's SIVs to a file that is complete or absent."""
    _save_tensors({"weights": weights}, file)


def load_weights(file: str | Path) -> Tensor:
    """Read the weights that `save_weights` wrote."""
    return safetensors.torch.load_file(file)["weights"]


def name_cues_file(folder: Path, key: str, look: int) -> Path:
    """The file of a shard's cues for a look, counted from 0."""
    return folder / f"{key}.cues{look}.safetensors"


def name_merged_file(folder: Path, key: str, look: int) -> Path:
    """The file of a whole group's cues for a look; `key` is that of the group's first shard."""
    return folder / f"{key}.merged{look}.safetensors"


def name_weights_file(folder: Path, key: str) -> Path:
    """The file of the weights of a whole group's SIVs; `key` is that of the group's first shard."""
    return folder / f"{key}.weights.safetensors"


def _save_tensors(tensors: dict[str, Tensor], file: Path) -> None:
    files.write_file(file, safetensors.torch.save({name: part.contiguous().cpu() for name, part in tensors.items()}))
