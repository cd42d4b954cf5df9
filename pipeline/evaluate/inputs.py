"""The inputs of stage evaluate, and the key that changes with them."""

from dataclasses import dataclass
from pathlib import Path

from pipeline import tables
from pipeline.evaluate.config import EvaluateConfig

OUTPUT_VERSION = 4
"""Raise it when a change of the code changes the outputs for the same inputs."""


@dataclass(frozen=True)
class Inputs:
    """What the evaluation of one dataset reads. `root`: the collection's folder. `model`: stage train's folder."""

    dataset: str
    root: Path
    index: Path
    samples: Path
    maps: Path
    model: Path

    @property
    def weights(self) -> Path:
        """The checkpoint that made the maps."""
        return self.model / "model.safetensors"


def make_key(inputs: Inputs, config: EvaluateConfig) -> str:
    """A key of everything that decides the outputs. Raises TableError if a table is missing or unfinished."""
    manifests = [tables.load_manifest(folder) for folder in (inputs.index, inputs.samples, inputs.maps)]
    options = config.model_dump(exclude={"shard_size"})
    methods = {name: _list_files(find_method_folder(path, inputs)) for name, path in config.methods.items()}
    weights = tables.digest_file(inputs.weights.read_bytes()) if config.num_panels else ""
    return tables.make_key("evaluate", OUTPUT_VERSION, [inputs.dataset, manifests, weights, methods], options)


def find_method_folder(pattern: str, inputs: Inputs) -> Path:
    """The folder of another method's maps."""
    return Path(pattern.replace("{dataset}", inputs.dataset))


def _list_files(folder: Path) -> list[tuple[str, int, int]]:
    """Path, bytes and time of each file: DVC does not watch these folders."""
    files = sorted(file for file in folder.glob("*/*") if file.is_file())
    return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
