"""What every SOD method is: a function of images, an identity, and the specification it was made from."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qsl

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

Key = tuple[str, str]
"""(group, name) of an image."""


class SodError(ValueError):
    """A specification, an option or a file of weights that cannot be used."""


class MissingMapError(SodError):
    """Some images of a batch have no map. `reasons` tells why, by key; the rest can be asked for without them."""

    def __init__(self, reasons: Mapping[Key, str]) -> None:
        super().__init__("; ".join(reasons.values()))
        self.reasons = dict(reasons)


class Options(BaseModel):
    """Options after the `?` of a specification; unknown names and wrong types are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


AnyOptions = TypeVar("AnyOptions", bound=Options)


@dataclass(frozen=True)
class Spec:
    """A method's specification `kind:file?option=value&option=value`, taken apart."""

    text: str
    kind: str
    file: str
    given: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> "Spec":
        """Take a specification apart. SodError if an option has no value or stands twice."""
        head, _, query = text.partition("?")
        kind, _, file = head.partition(":")
        try:
            pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
        except ValueError as error:
            raise SodError(f"{text!r}: the options after '?' must read name=value&name=value") from error
        if len(dict(pairs)) < len(pairs):
            raise SodError(f"{text!r}: an option stands twice")
        return cls(text, kind, file, dict(pairs))

    def options(self, options: type[AnyOptions] = Options) -> AnyOptions:
        """The options as the method declares them. SodError names the one that is unknown or wrong."""
        try:
            return options.model_validate(self.given)
        except ValidationError as error:
            problem = error.errors()[0]
            known = ", ".join(options.model_fields) or "none"
            raise SodError(
                f"{self.text!r}: option {'.'.join(map(str, problem['loc']))!r}: {problem['msg']} (options: {known})"
            ) from error

    def weights(self) -> Path:
        """The file after the colon. SodError if there is none."""
        if not Path(self.file).is_file():
            raise SodError(f"{self.text!r}: there is no file {self.file!r}")
        return Path(self.file)

    def no_file(self) -> None:
        """SodError if a file is named: the method takes none."""
        if self.file:
            raise SodError(f"{self.text!r}: {self.kind!r} takes no file")


@dataclass(frozen=True)
class Method:
    """A SOD method: upright RGB uint8 [H, W, 3] images to saliency maps float32 [H, W] in [0, 1]."""

    maps: Callable[[Sequence[np.ndarray], Sequence[Key]], list[np.ndarray]]
    identify: Callable[[], str]
    gpu: bool = False
    """Whether it computes on the device it was made for, so that a GPU is of use."""

    def __call__(self, image: np.ndarray, key: Key = ("", "")) -> np.ndarray:
        """The map of one image."""
        return self.batch([image], [key])[0]

    def batch(self, images: Sequence[np.ndarray], keys: Sequence[Key]) -> list[np.ndarray]:
        """The maps of images of any sizes, in their order. MissingMapError says which images have none."""
        return self.maps(images, keys)

    @cached_property
    def identity(self) -> str:
        """Changes exactly when the method's maps may: its kind, options, weights or algorithm. Not with paths."""
        return self.identify()


def detect_one_by_one(detect: Callable[[np.ndarray], np.ndarray]) -> Callable[..., list[np.ndarray]]:
    """Make the batch function of a method that sees one image at a time."""
    return lambda images, keys: [detect(image) for image in images]


def make_identity(kind: str, version: int, options: Options | None = None, weights: Path | None = None) -> str:
    """Identity string of a method: kind, version of its algorithm, every option and the SHA-256 of its weights."""
    parts = [f"{kind}/{version}"]
    if options is not None:
        parts += [f"{name}={value}" for name, value in options.model_dump(mode="json").items()]
    if weights is not None:
        with weights.open("rb") as file:
            parts.append(f"sha256={hashlib.file_digest(file, 'sha256').hexdigest()}")
    return " ".join(parts)
