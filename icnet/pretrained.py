"""Pretrained weights of the backbones."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn


def load_vgg16(model: nn.Module, source: str | Path) -> None:
    """Fill the model's VGG-16 from `source`: "torchvision" (a download) or a file with torchvision's keys.

    Raises ValueError where the file cannot be read or does not fit the model, FileNotFoundError where there is none.
    """
    found = _download() if str(source) == "torchvision" else _read_state(Path(source))
    vgg = model.backbone.vgg
    wanted = vgg.state_dict()
    for key, tensor in wanted.items():
        name = f"features.{key}"
        if name not in found:
            raise ValueError(f"{source} has no `{name}`: expected the state dict of torchvision's VGG-16")
        if found[name].shape != tensor.shape:
            got, expected = tuple(found[name].shape), tuple(tensor.shape)
            raise ValueError(f"{source}: `{name}` is {got}, the model's is {expected}: ImageNet weights need width 1")
    vgg.load_state_dict({key: found[f"features.{key}"].to(tensor.dtype) for key, tensor in wanted.items()})


def _download() -> dict[str, Tensor]:
    from torchvision.models import VGG16_Weights

    return VGG16_Weights.IMAGENET1K_V1.get_state_dict(check_hash=True, weights_only=True)


def _read_state(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise FileNotFoundError(f"there are no backbone weights at {file}")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{file} cannot be read as weights: {type(error).__name__}: {error}") from error
