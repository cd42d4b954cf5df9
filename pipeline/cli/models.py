"""Find the model that `cosal predict` uses: a registered model, a checkpoint of this project or of the authors."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from icnet import official
from pipeline.register.package import fetch_model

REGISTRY_PREFIX = "models:/"

DEFAULT_MODEL = f"{REGISTRY_PREFIX}icnet@champion"

DEFAULT_SISM_METHOD = "gc"
"""SOD method of checkpoints that do not name one."""


@dataclass(frozen=True)
class FoundModel:
    """A file of weights, and the SOD method that it was trained with."""

    weights: Path
    sism_method: str


def find_model(model: str, folder: Path) -> FoundModel:
    """The model with this name or path; a registered model is copied to `folder`.

    Raises CheckpointError if there is no such file, and RegistryError if MLflow does not know the registered model.
    """
    if not model.startswith(REGISTRY_PREFIX):
        if not Path(model).is_file():
            raise official.CheckpointError(
                f"there is no file {model}; a registered model is named {REGISTRY_PREFIX}<name>@<alias>"
            )
        return FoundModel(Path(model), DEFAULT_SISM_METHOD)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return FoundModel(*fetch_model(model, folder))
