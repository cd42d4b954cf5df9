"""What decides a trained model: the fingerprint of a training."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import icnet
import pipeline.metrics
from pipeline import tables
from pipeline.train.config import OPERATIONAL, ModelConfig, TrainConfig
from pipeline.train.job import TrainError

OUTPUT_VERSION = 1
"""Version of what stage train writes; a new one trains again."""

MODEL_CODE = (
    "augment",
    "dataset",
    "feature_files",
    "features",
    "initial",
    "job",
    "sampler",
    "sism_noise",
    "pasting",
    "zoom",
    "split",
    "validation",
    "worker",
)
"""Modules of this package that can change the model. The others read options, print, log, draw or store."""

METRIC_CODE = ("pysod", "score")
"""Modules of `pipeline.metrics` that score validation images, which chooses the epoch."""

UNRELATED = ("sod", "hub.py", "onnx_export.py", "onnx_int8.py", "photographs.py")
"""Folders and files of `icnet` that no training uses."""


@dataclass(frozen=True)
class Identity:
    """All that decides a trained model. Equal identities have equal fingerprints.

    `options`, `weights`, `samples` and `code` are digests; `weights` may also be None or "torchvision".
    """

    version: int
    options: str
    weights: str | None
    samples: str
    code: str

    @property
    def fingerprint(self) -> str:
        """The name of the training."""
        return tables.fingerprint(asdict(self))

    def differs_only_in_code(self, other: dict[str, Any]) -> bool:
        """Whether a saved identity is the same training under other code; one without content is taken for that."""
        same = {**asdict(self), "code": other.get("code")} == other
        return not other or (same and self.code != other["code"])


def identify_training(samples: Mapping[str, Path], config: TrainConfig, network: ModelConfig) -> Identity:
    """The identity of a training. Raises TrainError where `model.weights` names no file."""
    return Identity(
        OUTPUT_VERSION,
        tables.fingerprint(config.model_dump(exclude=OPERATIONAL), network.model_dump(exclude={"weights"})),
        _digest_weights(network.weights),
        digest_samples(samples),
        digest_code(list_model_code()),
    )


def digest_samples(samples: Mapping[str, Path]) -> str:
    """The digest of finished samples tables, by dataset."""
    return tables.fingerprint([[name, tables.load_manifest(table)["shards"]] for name, table in samples.items()])


def list_model_code(package: Path = Path(__file__).parent, network: Path = Path(icnet.__file__).parent) -> list[Path]:
    """The files whose code can change the model: `icnet` without UNRELATED, MODEL_CODE of this package, METRIC_CODE."""
    of_network = [file for file in network.rglob("*.py") if file.relative_to(network).parts[0] not in UNRELATED]
    metrics = Path(pipeline.metrics.__file__).parent
    scores = [metrics / f"{name}.py" for name in METRIC_CODE]
    return sorted(of_network) + [package / f"{name}.py" for name in MODEL_CODE] + scores


def digest_code(files: Iterable[Path]) -> str:
    """The digest of source files."""
    return tables.fingerprint([hashlib.sha256(file.read_bytes()).hexdigest() for file in files])


def digest_file(file: Path) -> str:
    """The SHA-256 of a file."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _digest_weights(weights: str | None) -> str | None:
    if weights in (None, "torchvision"):
        return weights
    if not Path(weights).is_file():
        raise TrainError(f"model.weights: there is no file {weights}")
    return digest_file(Path(weights))
