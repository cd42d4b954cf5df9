"""Parameters of stage sism."""

from typing import ClassVar

from pydantic import Field

from pipeline.runtime import params


class SismConfig(params.Section):
    """How SISMs are made."""

    renamed: ClassVar[dict[str, str]] = {
        "batch": "batch_size",
        "shard": "shard_size",
        "megapixels": "shard_megapixels",
        "actors": "num_actors",
        "gpus": "gpus_per_actor",
    }

    method: str = "gc"
    batch_size: int = Field(16, ge=1)
    shard_size: int = Field(64, ge=1)
    shard_megapixels: float = Field(128, gt=0)
    num_actors: int | None = Field(None, ge=1)
    gpus_per_actor: float | None = Field(None, ge=0)
    strict: bool = False
