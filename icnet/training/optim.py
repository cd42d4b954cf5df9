"""Optimizers and learning-rate schedules."""

from torch import nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, LRScheduler, OneCycleLR, SequentialLR

OPTIMIZERS = {"adam": Adam, "adamw": AdamW}

WARMUP_START = 1e-3
"""Share of the rate at which a warm-up begins."""


def make_optimizer(
    model: nn.Module,
    kind: str = "adam",
    lr: float = 1e-5,
    backbone_lr: float | None = None,
    weight_decay: float = 1e-4,
) -> Optimizer:
    """Adam as in section 4.1 (coupled weight decay), or AdamW.

    `backbone_lr` is for parameters of `model.backbone`, without its `top`, the sixth stage, which is new.
    """
    backbone = getattr(model, "backbone", nn.Module())
    top = {id(parameter) for parameter in getattr(backbone, "top", nn.Module()).parameters()}
    of_backbone = {id(parameter) for parameter in backbone.parameters()} - top
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    new = [parameter for parameter in trained if id(parameter) not in of_backbone]
    old = [parameter for parameter in trained if id(parameter) in of_backbone]
    groups = [{"params": new, "lr": lr}]
    if old:
        groups.append({"params": old, "lr": lr if backbone_lr is None else backbone_lr})
    return OPTIMIZERS[kind](groups, lr=lr, weight_decay=weight_decay)


def make_schedule(optimizer: Optimizer, kind: str = "constant", steps: int = 1, warmup: float = 0.0) -> LRScheduler:
    """Rates over `steps` optimizer steps: constant, cosine (to 0) or one_cycle; `warmup` is a share of the steps.

    one_cycle rises for that share (0.3 where it is 0) to the optimizer's rates and falls to 0.
    """
    rising = round(warmup * steps)
    if kind == "one_cycle":
        rates = [group["lr"] for group in optimizer.param_groups]
        return OneCycleLR(optimizer, rates, total_steps=steps, pct_start=warmup or 0.3)
    rest = max(1, steps - rising)
    after = CosineAnnealingLR(optimizer, rest) if kind == "cosine" else ConstantLR(optimizer, 1.0, 0)
    if not rising:
        return after
    return SequentialLR(optimizer, [LinearLR(optimizer, WARMUP_START, 1.0, rising), after], [rising])
