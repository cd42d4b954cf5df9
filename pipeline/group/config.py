"""Parameters of stage group."""

from pydantic import Field

from pipeline.runtime import params


class GroupConfig(params.Section):
    """How photographs are divided into groups."""

    model: str = Field(
        "weights/icnet.safetensors", description="checkpoint whose SIVs describe the salient objects of the photographs"
    )
    embedding: str | None = Field(
        None,
        description="what describes a photograph instead of its SIVs: `onnx:` and the file of a network, with the"
        " options of the SOD method `onnx`. `cohesion` and `copies` then need other values",
    )
    min_group_size: int = Field(5, ge=2, description="smallest group; photographs of smaller ones are unsorted")
    neighbors: int = Field(
        3, ge=1, description="photographs that must be near one another to begin a group; more: fewer, larger groups"
    )
    cohesion: float = Field(
        0.25,
        ge=0,
        lt=1,
        description="smallest mean cosine similarity of the photographs of a group; looser groups are dissolved."
        " Photographs drawn at random have about 0.16",
    )
    copies: float = Field(
        0.97,
        ge=0.5,
        le=1,
        description="cosine similarity above which photographs that look alike are copies: bursts, resized files",
    )
    seed: int = Field(0, ge=0, description="seed of principal components and k-means")
    batch_size: int = Field(8, ge=1, description="images that go through the network at once")
    shard_size: int = Field(256, ge=1, description="images in a shard of the table of embeddings")
    num_actors: int | None = Field(
        None, ge=1, description="processes that run the network; null: one for each GPU, or for each core without GPUs"
    )
    gpus_per_actor: float | None = Field(
        None, ge=0, description="GPUs of each process; 0 uses the CPU; null: 1 if there are GPUs"
    )
