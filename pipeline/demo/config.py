"""Parameters of stage demo."""

from pydantic import Field

from pipeline.demo.scene import CATEGORIES
from pipeline.runtime import params


class DemoConfig(params.Section):
    """`categories` of training with `images` each; the benchmark's six categories with `unseen_images` each."""

    seed: int = Field(7, ge=0)
    categories: int = Field(32, ge=6, le=len(CATEGORIES["train"]))
    images: int = Field(12, ge=2)
    unseen_images: int = Field(10, ge=2)
