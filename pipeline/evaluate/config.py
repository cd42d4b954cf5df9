"""Parameters of stage evaluate."""

from typing import Annotated, ClassVar

from pydantic import Field

from pipeline.runtime import params

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class EvaluateConfig(params.Section):
    """How maps are scored. `shard`: images a task; `resamples`, `confidence`, `seed`: intervals by bootstrap over
    groups; `panels`: how many of the worst and of the best groups are drawn; `methods`: folders of others' maps by
    name, `{dataset}` in a path standing for the dataset's name."""

    renamed: ClassVar[dict[str, str]] = {
        "shard": "shard_size",
        "panels": "num_panels",
    }

    shard_size: int = Field(64, ge=1)
    resamples: int = Field(1000, ge=1)
    confidence: float = Field(0.95, gt=0, lt=1)
    seed: int = 0
    num_panels: int = Field(2, ge=0)
    methods: dict[Name, str] = Field({})
