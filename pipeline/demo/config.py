"""Parameters of stage demo."""

from pydantic import Field

from pipeline.demo.scene import CATEGORIES
from pipeline.runtime import params


class DemoConfig(params.Section):
    """The embedded collection: drawn toys in groups, for training and for a benchmark of six unseen categories."""

    seed: int = Field(7, ge=0, description="the same seed gives the same files")
    categories: int = Field(32, ge=6, le=len(CATEGORIES["train"]), description="groups to train on")
    images: int = Field(12, ge=2, description="images of each group to train on")
    unseen_images: int = Field(10, ge=2, description="images of each group in the benchmark")
