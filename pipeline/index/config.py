"""Parameters of stage index."""

from typing import ClassVar

from pydantic import Field

from pipeline.runtime import params


class IndexConfig(params.Section):
    """Which files stage index rejects, and how many it reads at once."""

    renamed: ClassVar[dict[str, str]] = {
        "threads": "num_threads",
        "megabytes": "max_megabytes",
        "smallest": "min_side",
    }

    strict: bool = Field(False, description="`true`: any reject is an error")
    num_threads: int = Field(8, ge=1, le=1024, description="files read at the same time; raise it for network disks")
    max_megabytes: int = Field(256, ge=1, description="larger files are rejected, MiB")
    min_side: int = Field(8, ge=1, description="images with a shorter side are rejected, px")
