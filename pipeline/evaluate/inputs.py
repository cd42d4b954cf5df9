"""What the evaluation of one dataset reads."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Inputs:
    """What the evaluation of a dataset reads."""

    dataset: str
    root: Path
    index: Path
    samples: Path
    maps: Path
    model: Path
