"""The output of stage register: which version the model became, and the key of the inputs."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from icnet.sod import make_method
from pipeline import tables
from pipeline.register.config import RegisterConfig
from pipeline.register.registry import CHAMPION, Registry
from pipeline.runtime import files

OUTPUT_VERSION = 1
"""Raise it when a change of the code changes the registered model or the decision for the same inputs."""


class ReceiptError(ValueError):
    """An output file that another program wrote."""


@dataclass(frozen=True)
class Inputs:
    """What is registered: stage train's folder, the file of sums of each benchmark, and the SOD method."""

    model: Path
    scores: dict[str, Path]
    sod: str

    @property
    def weights(self) -> Path:
        """The checkpoint."""
        return self.model / "model.safetensors"

    @property
    def facts(self) -> Path:
        """What stage train noted about the model."""
        return self.model / "run.json"


@dataclass(frozen=True)
class Receipt:
    """The decision about one model. `champion`: the version that is champion after it."""

    name: str
    version: int
    alias: str
    champion: int
    reason: str
    run_id: str
    key: str

    @classmethod
    def read(cls, file: Path) -> "Receipt | None":
        """The receipt in a file. None if there is none, or one of an older release.

        Raises ReceiptError if the file is not a receipt.
        """
        if not file.exists():
            return None
        try:
            content = json.loads(file.read_text())
            older = {name: content[name] for name in ("name", "version", "alias", "reason", "run_id")}
        except (ValueError, KeyError, TypeError, OSError):
            raise ReceiptError(f"{file} was not written by stage register: move it, or choose another file") from None
        return cls(**older, champion=content["champion"], key=content["key"]) if "key" in content else None

    def write(self, file: Path) -> None:
        """Write the receipt. The file is complete or absent."""
        files.write_json(file, asdict(self))


def identify_model(weights: Path, sod: str) -> str:
    """A key of the weights, and of the content of the SOD method, wherever its file is."""
    return tables.fingerprint(hashlib.sha256(weights.read_bytes()).hexdigest(), make_method(sod).identity)


def make_key(inputs: Inputs, config: RegisterConfig) -> str:
    """A key of everything that decides the version and the gate's decision."""
    scores = {name: tables.digest_file(file.read_bytes()) for name, file in inputs.scores.items()}
    identity = identify_model(inputs.weights, inputs.sod)
    return tables.make_key("register", OUTPUT_VERSION, [identity, scores], config.model_dump())


def is_up_to_date(registry: Registry, receipt: Receipt) -> bool:
    """Whether the aliases on the server are still those of the receipt."""
    aliases = registry.get_aliases()
    return aliases.get(receipt.alias) == str(receipt.version) and aliases.get(CHAMPION) == str(receipt.champion)
