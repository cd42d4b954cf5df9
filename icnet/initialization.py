"""Random initial weights of every layer."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

SPREADS = {"program": 0.01, "paper": 0.1}
"""Standard deviation of new weights where it is a constant; otherwise it is He's."""

HE_SHARE = 0.1
"""How much of a locally orthogonal convolution is He's initialization."""


def initialize_weights(model: nn.Module, pretrained: nn.Module, init: str) -> None:
    """Initialize the convolutions of `model` by `Config.init`.

    Those in `pretrained`, the backbone that pretrained weights may fill later, are He's, or local with init delta.
    """
    backbone = set(pretrained.modules())
    for module in model.modules():
        if not isinstance(module, nn.Conv2d):
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
        if module in backbone and init == "delta":
            fill_local_orthogonal(module.weight)
        elif module in backbone or init not in SPREADS:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        else:
            nn.init.normal_(module.weight, std=SPREADS[init])


def fill_identity(compress: nn.Module) -> None:
    """Fill 1x1 convolutions so that they change nothing, until whitening does."""
    for module in compress.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.dirac_(module.weight)


@torch.no_grad()
def fill_local_orthogonal(weight: Float[Tensor, "o i 3 3"]) -> None:
    """Fill a convolution so that it rotates each cell's vector and adds a little of its neighbors.

    Such a convolution tells colors and textures apart without training (Xiao et al., ICML 2018).
    """
    center = nn.init.orthogonal_(weight.new_empty(weight.shape[:2]), gain=2**0.5)
    nn.init.kaiming_normal_(weight, nonlinearity="relu").mul_(HE_SHARE)
    weight[:, :, 1, 1] += center * (1 - HE_SHARE**2) ** 0.5
