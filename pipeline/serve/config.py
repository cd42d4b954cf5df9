"""Options of the endpoint."""

from pydantic import Field

from pipeline.runtime import params


class ServeConfig(params.Section):
    """What the endpoint runs and what it refuses."""

    model: str | None = Field(None, description="checkpoint, or models:/<name>@<alias>; null: that of this repository")
    sism_method: str | None = Field(None, description="SOD method; null: that of the model")
    num_replicas: int = Field(1, ge=1, description="processes that run the network")
    num_cpus: float = Field(1, gt=0, description="cores of each; also its number of threads")
    num_gpus: float = Field(0, ge=0, description="GPUs of each")
    max_queued_requests: int = Field(64, ge=1, description="requests that wait; more are answered with 503")
    max_images: int = Field(100, ge=1, description="photographs in a request")
    max_megabytes: int = Field(128, ge=1, description="size of a request, MiB")
    max_megapixels: float = Field(50, gt=0, description="pixels of a photograph")
    max_total_megapixels: float = Field(200, gt=0, description="pixels of all photographs of a request")
