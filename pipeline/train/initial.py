"""The model before its first step."""

from collections.abc import Callable

import torch
from torch import Tensor

from icnet import pretrained, whitening
from icnet.config import Config
from icnet.model import ICNet
from pipeline.train.config import ModelConfig, TrainConfig
from pipeline.train.job import TrainError


def build_initial_model(
    config: TrainConfig, network: ModelConfig, load_images: Callable[[], Tensor] | None = None
) -> ICNet:
    """The network with its first weights: random ones by the seed, then those that `model.weights` names.

    `load_images` gives training images for the whitening that `model.init` may ask for; weights of a whole network
    stay as they are. Raises TrainError where an option of `model` or `train.freeze` does not fit.
    """
    torch.manual_seed(config.seed)
    try:
        model = ICNet(Config(**network.model_dump(exclude={"weights"})))
    except ValueError as error:
        raise TrainError(f"model: {error}") from error
    filled = None if network.weights is None else _load_weights(model, network.weights)
    for name in config.freeze:
        _check_part(model, name)
    random = network.weights is None
    if load_images and filled != "network" and (network.init == "whitened" or (network.init == "delta" and random)):
        power = whitening.UNTRAINED_POWER if random else whitening.PRETRAINED_POWER
        whitening.whiten_compression(model, load_images(), power)
    return model


def _load_weights(model: ICNet, weights: str) -> str:
    """Fill the model; returns whether its "backbone" was filled or the whole "network"."""
    try:
        return pretrained.load_weights(model, weights)
    except ValueError as error:
        raise TrainError(f"model: {error}") from error
    except FileNotFoundError:
        raise TrainError(f"model.weights: there is no file {weights}") from None
    except OSError as error:
        raise TrainError(
            f"model.weights: torchvision's VGG-16 cannot be downloaded ({error}); without a network, give the path of a"
            " file that holds it, or null to train from scratch"
        ) from error


def _check_part(model: ICNet, name: str) -> None:
    try:
        model.part(name)
    except KeyError:
        there = ", ".join([*dict(model.named_children()), *model.backbone.parts()])
        raise TrainError(f"train.freeze: the network has no part {name} (there: {there})") from None
