"""Parameters of stage sism."""

from typing import ClassVar

from pydantic import ConfigDict, Field

from icnet.config import Config
from pipeline.runtime import params


class SismConfig(params.Section):
    """How single-image saliency maps (SISMs) are computed, and how the images are divided into shards."""

    renamed: ClassVar[dict[str, str]] = {
        "batch": "batch_size",
        "shard": "shard_size",
        "megapixels": "shard_megapixels",
        "actors": "num_actors",
        "gpus": "gpus_per_actor",
    }

    method: str = Field("gc", description="the SOD method and its options ([sod.md](sod.md))")
    batch_size: int = Field(16, ge=1, description="images that the method gets at once")
    shard_size: int = Field(64, ge=1, description="largest number of images in a shard")
    shard_megapixels: float = Field(
        128, gt=0, description="a shard of large images is smaller: about this many decoded megapixels"
    )
    num_actors: int | None = Field(
        None,
        ge=1,
        description="processes that compute; `null`: one for each GPU if the method can use one, else for each core",
    )
    gpus_per_actor: float | None = Field(
        None,
        ge=0,
        description="GPUs of each process; 0.5: two processes share a GPU; `null`: 1 if the method can use one",
    )
    strict: bool = Field(False, description="`true`: any reject is an error")
    max_rejects: float = Field(0.5, ge=0, le=1, description="a larger share of rejected images is an error")


class SampleSize(params.Section):
    """The only option of section `model` that the samples depend on."""

    model_config = ConfigDict(extra="ignore")

    size: int = Config().size
