"""Intermediate results of large groups on disk."""

from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from icnet.correlation import Cues


def save_cues(cues: Cues, file: Path) -> None:
    """Write the cues of a piece, whole or not at all."""
    save_tensors({str(number): block for number, block in enumerate(cues.sivs)}, file)


def load_cues(file: Path) -> Cues:
    """The cues that `save_cues` wrote."""
    with safe_open(file, framework="pt") as content:
        return Cues(tuple(content.get_tensor(str(number)) for number in range(len(content.keys()))))


def save_tensors(tensors: dict[str, Tensor], file: Path) -> None:
    temporary = file.with_suffix(".part")
    save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, temporary)
    temporary.replace(file)


def name_cues_file(folder: Path, key: str) -> Path:
    return folder / f"{key}.cues.safetensors"


def name_weights_file(folder: Path, key: str) -> Path:
    return folder / f"{key}.weights.safetensors"
