"""Parameters of stage predict."""

from typing import ClassVar, Literal

from pydantic import Field

from pipeline.runtime import params


class PredictConfig(params.Section):
    """How co-saliency maps are predicted. `shard`: images a shard; `batch`: images through the network at once; `cut`:
    Table 4's n_test, groups cut into batches of that many images that know nothing of each other (null: whole)."""

    renamed: ClassVar[dict[str, str]] = {
        "shard": "shard_size",
        "batch": "batch_size",
        "cut": "subgroup_size",
        "actors": "num_actors",
        "gpus": "gpus_per_actor",
    }

    shard_size: int = Field(256, ge=1)
    batch_size: int = Field(8, ge=1)
    subgroup_size: int | None = Field(None, ge=1)
    precision: Literal["float32", "bfloat16"] = "float32"
    num_actors: int | None = Field(None, ge=1)
    gpus_per_actor: float | None = Field(None, ge=0)
