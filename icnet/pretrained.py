"""Weights that a training starts from: a pretrained backbone, or a whole network (fine-tuning)."""

from pathlib import Path
from typing import Literal

from torch import Tensor

from icnet import checkpoint
from icnet.model import ICNet
from icnet.official import CheckpointError, is_official

TORCHVISION = "torchvision"
"""The source that downloads the ImageNet weights of VGG-16."""


def load_weights(model: ICNet, source: str | Path) -> Literal["backbone", "network"]:
    """Fill the model from `source`. Returns what was filled: the backbone alone, or the whole network.

    `source` is "torchvision" (ImageNet weights of VGG-16, downloaded), a file of published weights of the model's
    backbone, or a checkpoint of ICNet, ours or the authors', that fits the model's config.
    Raises FileNotFoundError where there is no such file, OSError where the download fails, ValueError where the file
    cannot be read, does not fit the model, or holds values that are not finite.
    """
    state, metadata = (_download(), {}) if str(source) == TORCHVISION else checkpoint.read_state(source)
    try:
        if "config" in metadata or is_official(state):
            _copy_network(model, checkpoint.build(state, metadata, source))
            return "network"
        model.backbone.fill_pretrained(state)
    except CheckpointError:
        raise
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    return "backbone"


def _copy_network(model: ICNet, trained: ICNet) -> None:
    """Copy all weights of a trained network; without a learned alpha, alpha is 1."""
    old, new = trained.state_dict(), model.state_dict()
    alphas = {key: tensor for key, tensor in new.items() if key.endswith(".alpha")}
    shapes = [{key: tensor.shape for key, tensor in state.items()} for state in (alphas | old, new)]
    if shapes[0] != shapes[1]:
        there, here = vars(trained.config), vars(model.config)
        differing = ", ".join(f"{name} {there[name]} (here {here[name]})" for name in here if there[name] != here[name])
        raise ValueError(f"its network does not fit the model: its config has {differing}")
    model.load_state_dict(alphas | old)


def _download() -> dict[str, Tensor]:
    from icnet.torchvision_models import VGG16_Weights  # slow to import, and needed only here

    state: dict[str, Tensor] = VGG16_Weights.IMAGENET1K_V1.get_state_dict(check_hash=True, weights_only=True)
    return state
