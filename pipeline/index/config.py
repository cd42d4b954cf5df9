"""Parameters of stage index."""

from pydantic import Field

from pipeline.runtime import params


class IndexConfig(params.Section):
    """What is refused, and how many files are read at once."""

    strict: bool = False
    num_threads: int = Field(8, ge=1)
    max_megabytes: int = Field(256, ge=1)
    min_side: int = Field(8, ge=1)
