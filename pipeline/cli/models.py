"""Find the model that `cosal predict` uses: a registered model, a checkpoint of this project or of the authors."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from icnet import checkpoint, official

REGISTRY_PREFIX = "models:/"


@dataclass(frozen=True)
class FoundModel:
    """A file of weights, and the SOD method that it was trained with."""

    weights: Path
    sism_method: str


def find_model(model: str, folder: Path) -> FoundModel:
    """The model with this name or path; a registered model is copied to `folder`.

    Raises CheckpointError if there is no such file, and RegistryError if MLflow does not know the registered model.
    """
    if model.startswith(REGISTRY_PREFIX):
        from pipeline.register.package import fetch_model  # MLflow takes seconds to import

        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return FoundModel(*fetch_model(model, folder))
    if not Path(model).is_file():
        raise official.CheckpointError(
            f"there is no file {model}; a registered model is named {REGISTRY_PREFIX}<name>@<alias>"
        )
    return FoundModel(Path(model), checkpoint.read_sism_method(Path(model)))
