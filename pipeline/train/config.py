"""Parameters of stage train."""

from dataclasses import fields
from typing import Annotated, ClassVar, Literal

from pydantic import Field, create_model

from icnet.config import Config
from pipeline.runtime import params

Share = Annotated[float, Field(ge=0, lt=1)]

Rate = Annotated[float, Field(gt=0)]

Count = Annotated[int, Field(ge=1)]


class TrainConfig(params.Section):
    """How the model is trained; the defaults are the paper's (section 4.1)."""

    renamed: ClassVar[dict[str, str]] = {
        "colour": "color_jitter",
        "disturb": "sism_noise",
        "optimiser": "optimizer",
        "rate": "lr",
        "backbone_rate": "backbone_lr",
        "clip": "grad_clip_norm",
        "accumulate": "grad_accum_steps",
        "ema": "ema_decay",
        "best": "best_metric",
        "workers": "num_workers",
        "gpus": "use_gpu",
        "loaders": "prefetch_threads",
        "retries": "max_failures",
    }

    dataset: str = ""
    seed: int = Field(0, ge=0)
    validation: Share | list[str] = 0.15
    batch_size: int = Field(10, ge=2)
    epochs: Count = 60
    flip: float = Field(0.5, ge=0, le=1)
    crop: Share = 0.0
    color_jitter: Share = 0.0
    sism_noise: Share = 0.0

    optimizer: Literal["adam", "adamw"] = "adam"
    lr: Rate = 1e-5
    backbone_lr: Rate | None = None
    freeze: list[str] = Field([])
    weight_decay: float = Field(1e-4, ge=0)
    schedule: Literal["constant", "cosine", "one_cycle"] = "constant"
    warmup: Share = 0.0
    grad_clip_norm: Rate | None = None
    grad_accum_steps: Count = 1
    ema_decay: Share | None = None
    batch_norm: Literal["per_rank", "sync"] = "per_rank"
    best_metric: Literal["max_f", "s", "mae", "loss"] = "max_f"

    precision: Literal["float32", "bf16", "fp16"] = "float32"
    channels_last: bool = True
    compile: bool = False
    num_workers: Count | None = None
    use_gpu: bool | None = None

    prefetch_threads: Count | None = None
    validate_every: Count = 1
    panels_every: Count = 10
    checkpoint_every: Count = 1
    checkpoint_steps: Count | None = None
    max_failures: int = Field(3, ge=0)


MACHINERY = {"prefetch_threads", "panels_every", "checkpoint_every", "checkpoint_steps", "max_failures"}
"""Params that cannot change the model: a training that was stopped goes on when they change."""


class _RenamedChoices(params.Section):
    """Old names in section `model`."""

    renamed: ClassVar[dict[str, str]] = {"summed": "cfm_sum"}
    renamed_values: ClassVar[dict[str, dict[str, str]]] = {
        "summed": {"normalised": "normalized"},
        "cfm_sum": {"normalised": "normalized"},
    }


ModelConfig = create_model(
    "ModelConfig",
    __base__=_RenamedChoices,
    __doc__="The network to train, and where its VGG-16 begins: null, torchvision, or a file of its weights.",
    weights=(str | None, None),
    **{field.name: (field.type, field.default) for field in fields(Config)},
)
