"""Parameters of stage evaluate."""

from typing import Annotated, ClassVar

from pydantic import Field

from pipeline.runtime import params

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class EvaluateConfig(params.Section):
    """How co-saliency maps are scored. Intervals are a bootstrap over groups."""

    renamed: ClassVar[dict[str, str]] = {
        "shard": "shard_size",
        "panels": "num_panels",
    }

    shard_size: int = Field(64, ge=1, description="images that one Ray task scores")
    resamples: int = Field(1000, ge=1, le=100_000, description="resamples of the groups for the intervals")
    confidence: float = Field(0.95, gt=0, lt=1, description="share of the resamples inside an interval")
    seed: int = Field(0, ge=0, description="seed of the resamples")
    num_panels: int = Field(2, ge=0, le=1000, description="sheets to draw of the worst groups, and of the best groups")
    num_page_groups: int = Field(
        10, ge=0, le=100, description="groups on the page to look at: so many of the worst, and of the best"
    )
    methods: dict[Name, str] = Field(
        {},
        description="other methods to score: folders of `<group>/<name>.png` by the method's name."
        " `{dataset}` in a path is replaced by the dataset's name",
    )
