"""The model before its first step, and the fingerprint of a training."""

import hashlib
from pathlib import Path

import torch

import icnet
from icnet import pretrained
from icnet.config import Config
from icnet.model import ICNet
from pipeline import tables
from pipeline.train.config import MACHINERY, ModelConfig, TrainConfig
from pipeline.train.job import TrainError


def fingerprint_training(samples: Path, config: TrainConfig, network: ModelConfig) -> str:
    """A name that changes when the model may: with params, samples, first weights and the network's code."""
    weights = network.weights
    if weights not in (None, "torchvision"):
        if not Path(weights).is_file():
            raise TrainError(f"model.weights: there is no file {weights}")
        weights = hashlib.sha256(Path(weights).read_bytes()).hexdigest()
    code = sorted([*Path(icnet.__file__).parent.rglob("*.py"), *Path(__file__).parent.glob("*.py")])
    return tables.fingerprint(
        config.model_dump(exclude=MACHINERY),
        network.model_dump(exclude={"weights"}),
        weights,
        tables.load_manifest(samples)["shards"],
        [hashlib.sha256(file.read_bytes()).hexdigest() for file in code],
    )


def build_initial_model(config: TrainConfig, network: ModelConfig) -> ICNet:
    """The network before its first step, from the seed and the weights that are asked for."""
    torch.manual_seed(config.seed)
    try:
        model = ICNet(Config(**network.model_dump(exclude={"weights"})))
        if network.weights is not None:
            pretrained.load_weights(model, network.weights)
    except ValueError as error:
        raise TrainError(f"model: {error}") from error
    except FileNotFoundError:
        raise TrainError(f"model.weights: there is no file {network.weights}") from None
    except OSError as error:
        raise TrainError(
            f"model.weights: torchvision's VGG-16 cannot be downloaded ({error}); without a network, give the path of a"
            " file that holds it, or null to train from scratch"
        ) from error
    for name in config.freeze:
        try:
            model.part(name)
        except KeyError:
            there = ", ".join([*dict(model.named_children()), *model.backbone.parts()])
            raise TrainError(f"train.freeze: the network has no part {name} (there: {there})") from None
    return model
