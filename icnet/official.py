"""Checkpoints of the authors' program, converted to the names in this package."""

from collections.abc import Mapping

from torch import Tensor

from icnet.config import Config
from icnet.model import ICNet


class CheckpointError(ValueError):
    """A file that is not a checkpoint of this network; the message names the file and the reason."""


def is_official(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has the keys of the authors' program."""
    return any(key.removeprefix("module.") == "Co6.cosal_feat.conv.0.weight" for key in state)


def convert_official(state: dict[str, Tensor]) -> ICNet:
    """The network with the weights of the authors' state dict; alpha, which it does not hold, is 1.

    Raises CheckpointError where a key is missing, unknown or of another shape.
    """
    renamed = {_rename_key(key.removeprefix("module.")): tensor for key, tensor in state.items()}
    if (coarsest := renamed.get("blocks.6.project.weight")) is None:
        raise CheckpointError("not a state dict of ICNet: there is no `Co6.cosal_feat.conv.0.weight`")
    model = ICNet(Config(size=32 * round(coarsest.shape[1] ** 0.5)))
    model.to(coarsest.dtype)
    alphas = {key: tensor for key, tensor in model.state_dict().items() if key.endswith(".alpha")}
    try:
        model.load_state_dict(renamed | alphas)
    except RuntimeError as error:
        raise CheckpointError(f"the state dict does not fit the authors' network: {error}") from error
    return model


RENAMED_KEYS = {
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
"""Prefixes of the authors' keys and of ours. They apply from the left: first the part, then the layer inside it."""


def _rename_key(key: str) -> str:
    done = ""
    while match := next((old for old in RENAMED_KEYS if key.startswith(old)), None):
        done, key = done + RENAMED_KEYS[match], key[len(match) :]
    return done + key
