"""The interface of a SOD method: its specification, its options, and the function from images to saliency maps."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from icnet.images import Pixels

Key = tuple[str, str]
"""(group, name) of an image."""

SaliencyMap = NDArray[np.float32]
"""A saliency map: float32 [H, W] in [0, 1]."""


class SodError(ValueError):
    """A specification, an option or a file of weights that cannot be used."""


class DetectionError(SodError):
    """A method that has no usable map for one image, whenever it is asked; for instance a map that is not finite."""


class MissingMapError(DetectionError):
    """Some images of a batch have no map. `reasons` gives the reason by key; the other images can be retried."""

    def __init__(self, reasons: Mapping[Key, str]) -> None:
        super().__init__("; ".join(reasons.values()))
        self.reasons = dict(reasons)

    def __reduce__(self) -> tuple[type["MissingMapError"], tuple[dict[Key, str]]]:
        return type(self), (self.reasons,)


class Options(BaseModel):
    """Options after the `?` of a specification. Unknown names and wrong types are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


AnyOptions = TypeVar("AnyOptions", bound=Options)


@dataclass(frozen=True)
class Spec:
    """The specification of a method, `kind:file?option=value&option=value`, split into its parts."""

    text: str
    kind: str
    file: str
    given: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> "Spec":
        """Split a specification. Raises SodError if an option has no value or is given twice."""
        head, _, query = text.partition("?")
        kind, _, file = head.partition(":")
        try:
            pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
        except ValueError as error:
            raise SodError(f"{text!r}: the options after '?' must read name=value&name=value") from error
        if len(dict(pairs)) < len(pairs):
            raise SodError(f"{text!r}: an option is given twice")
        return cls(text, kind, file, dict(pairs))

    def parse_options(self, kind: type[AnyOptions]) -> AnyOptions:
        """Return the options as `kind`. Raises SodError for an unknown or wrong option."""
        try:
            return kind.model_validate(self.given)
        except ValidationError as error:
            problem = error.errors()[0]
            name, known = ".".join(map(str, problem["loc"])), ", ".join(kind.model_fields) or "none"
            raise SodError(f"{self.text!r}: option {name!r}: {problem['msg']} (options: {known})") from error

    def refuse_options(self) -> None:
        """Raise SodError if an option is given."""
        self.parse_options(Options)

    def require_file(self) -> Path:
        """Return the file after the colon. Raises SodError if there is no such file."""
        if not Path(self.file).is_file():
            raise SodError(f"{self.text!r}: there is no file {self.file!r}")
        return Path(self.file)

    def refuse_file(self) -> None:
        """Raise SodError if a file is given."""
        if self.file:
            raise SodError(f"{self.text!r}: {self.kind!r} takes no file")


DetectBatch = Callable[[Sequence[Pixels], Sequence[Key]], list[SaliencyMap]]
"""Images and their keys to their maps, in the same order."""


@dataclass(frozen=True)
class Method:
    """A SOD method: upright RGB images, uint8 [H, W, 3], to saliency maps, float32 [H, W] in [0, 1]."""

    detect: DetectBatch
    identify: Callable[[], str]

    def __call__(self, image: Pixels, key: Key = ("", "")) -> SaliencyMap:
        """Return the map of one image."""
        return self.batch([image], [key])[0]

    def batch(self, images: Sequence[Pixels], keys: Sequence[Key]) -> list[SaliencyMap]:
        """Return the maps of images of any sizes. Raises DetectionError if an image has no usable map."""
        return self.detect(images, keys)

    @cached_property
    def identity(self) -> str:
        """A string that changes exactly when the maps may change: kind, options, weights or version. Never a path."""
        return self.identify()


def detect_one_by_one(detect: Callable[[Pixels], SaliencyMap]) -> DetectBatch:
    """Make a batch function from a function of one image."""
    return lambda images, keys: [detect(image) for image in images]


def make_identity(kind: str, version: int, options: Options | None = None, weights: Path | None = None) -> str:
    """Return a method's identity: its kind, output version, every option and the SHA-256 of its weights."""
    parts = [f"{kind}/{version}"]
    if options is not None:
        parts += [f"{name}={value}" for name, value in options.model_dump(mode="json").items()]
    if weights is not None:
        with weights.open("rb") as file:
            parts.append(f"sha256={hashlib.file_digest(file, 'sha256').hexdigest()}")
    return " ".join(parts)
