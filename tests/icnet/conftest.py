"""Shapes in the signatures of the network are checked while its tests run; elsewhere they cost nothing."""

from jaxtyping import install_import_hook

import icnet  # noqa: F401 (before any test imports torchvision)

CHECKED = ("backbone", "blocks", "cosaliency", "cues", "decoder", "loss", "model")

install_import_hook([f"icnet.{module}" for module in CHECKED], "beartype.beartype")
