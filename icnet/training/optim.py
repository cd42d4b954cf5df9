"""Optimizers and learning-rate schedules."""

from typing import Any

from torch import nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, LRScheduler, OneCycleLR, SequentialLR

OPTIMIZERS: dict[str, type[Optimizer]] = {"adam": Adam, "adamw": AdamW}

WARMUP_START = 1e-3
"""Learning rate at the start of a warm-up, as a share of the full rate."""

ONE_CYCLE_RISE = 0.3
"""Share of the steps in which the one-cycle schedule rises, where `warmup` is 0."""


def make_optimizer(
    model: nn.Module,
    kind: str = "adam",
    lr: float = 1e-5,
    backbone_lr: float | None = None,
    weight_decay: float = 1e-4,
    decay_all: bool = True,
) -> Optimizer:
    """Adam as in section 4.1 (coupled weight decay), or AdamW, for the parameters that need a gradient.

    `backbone_lr` is for the pretrained part of `model.backbone`; its new layers (the sixth stage) have `lr`. With
    `decay_all` weight decay acts on every parameter, as in the authors' program; without it on weights of two and more
    dimensions, but not on biases, batch norms and alpha. A parameter group's `part` is "new" or "backbone".
    """
    pretrained = _find_pretrained(model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = []
    for part, rate in ("new", lr), ("backbone", lr if backbone_lr is None else backbone_lr):
        members = [parameter for parameter in trained if (id(parameter) in pretrained) == (part == "backbone")]
        decayed = [parameter for parameter in members if decay_all or parameter.ndim > 1]
        spared = [parameter for parameter in members if not decay_all and parameter.ndim <= 1]
        for parameters, decay in (decayed, weight_decay), (spared, 0.0):
            if parameters:
                groups.append({"params": parameters, "lr": rate, "weight_decay": decay, "part": part})
    return OPTIMIZERS[kind](groups, lr=lr, weight_decay=weight_decay)  # type: ignore[call-arg]


def read_rates(optimizer: Optimizer) -> dict[str, float]:
    """The present learning rates of the parts "new" and "backbone"; 0 for a part that is not trained."""
    return {"new": 0.0, "backbone": 0.0} | {group["part"]: group["lr"] for group in optimizer.param_groups}


def make_schedule(optimizer: Optimizer, kind: str = "constant", steps: int = 1, warmup: float = 0.0) -> LRScheduler:
    """Learning rates over `steps` optimizer steps: constant, cosine (falls to 0) or one_cycle.

    `warmup` is the share of the steps in which the rate rises. one_cycle rises for that share (0.3 where it is 0) to
    the optimizer's rates and falls to 0.
    """
    if kind == "one_cycle":
        rates = [group["lr"] for group in optimizer.param_groups]
        return OneCycleLR(optimizer, rates, total_steps=steps, pct_start=_choose_rise(warmup, steps))
    rising = round(warmup * steps)
    rest = max(1, steps - rising)
    after = CosineAnnealingLR(optimizer, rest) if kind == "cosine" else ConstantLR(optimizer, 1.0, 0)
    if not rising:
        return after
    return SequentialLR(optimizer, [LinearLR(optimizer, WARMUP_START, 1.0, rising), after], [rising])


def _choose_rise(warmup: float, steps: int) -> float:
    """The share of rising steps; never exactly one step, by whose length less one OneCycleLR divides."""
    share = warmup or ONE_CYCLE_RISE
    return 1.5 / steps if share * steps == 1 else share


def _find_pretrained(model: nn.Module) -> set[int]:
    """Ids of the parameters in the pretrained part of `model.backbone`."""
    backbone = getattr(model, "backbone", nn.Module())
    part: nn.Module = getattr(backbone, "pretrained", backbone)
    return {id(parameter) for parameter in part.parameters()}
