"""Parameters of stage predict."""

from typing import ClassVar, Literal

from pydantic import Field

from pipeline.runtime import params

Precision = Literal["float32", "bf16"]


class PredictConfig(params.Section):
    """How co-saliency maps are predicted."""

    renamed: ClassVar[dict[str, str]] = {
        "shard": "shard_size",
        "batch": "batch_size",
        "cut": "subgroup_size",
        "actors": "num_actors",
        "gpus": "gpus_per_actor",
    }
    renamed_values: ClassVar[dict[str, dict[str, str]]] = {"precision": {"bfloat16": "bf16"}}

    shard_size: int = Field(256, ge=1, description="images in a shard; a larger group has several shards")
    batch_size: int = Field(8, ge=1, description="images that go through the network at once")
    subgroup_size: int | None = Field(
        None,
        ge=1,
        description="split every group into subgroups of this many images, which are predicted independently of each "
        "other (n_test in Table 4 of the paper); null: whole groups",
    )
    precision: Precision = Field(
        "float32", description="number format of the convolutions; bf16 is faster where the hardware supports it"
    )
    looks: int | None = Field(
        None,
        ge=1,
        le=3,
        description="how often every group is compared: first by the SISMs, then by the maps; null: `model.looks` of"
        " the model",
    )
    refine: bool = Field(
        False, description="let the edges of the maps follow those of the original images, which are read again for it"
    )
    num_actors: int | None = Field(
        None, ge=1, description="processes that run the network; null: one for each GPU, or for each core without GPUs"
    )
    gpus_per_actor: float | None = Field(
        None,
        ge=0,
        description="GPUs of each process; 0.5: two processes share a GPU; 0 uses the CPU; null: 1 if there are GPUs",
    )
