"""Parameters of stage index."""

from typing import ClassVar

from pydantic import Field

from pipeline.runtime import params


class IndexConfig(params.Section):
    """What is refused, and how many files are read at once."""

    renamed: ClassVar[dict[str, str]] = {
        "threads": "num_threads",
        "megabytes": "max_megabytes",
        "smallest": "min_side",
    }

    strict: bool = False
    num_threads: int = Field(8, ge=1)
    max_megabytes: int = Field(256, ge=1)
    min_side: int = Field(8, ge=1)
