"""The shapes in the network's signatures are checked while its tests run; elsewhere they cost nothing."""

from jaxtyping import install_import_hook

CHECKED = (
    "backbones",
    "correlation",
    "cosaliency",
    "decoder",
    "inference",
    "initialization",
    "layers",
    "loss",
    "model",
    "whitening",
)

install_import_hook([f"icnet.{module}" for module in CHECKED], "beartype.beartype")
