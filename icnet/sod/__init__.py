"""Single-image saliency (SOD) methods, all made from a specification by `make_method`.

A new method is one module and one line in METHODS.
"""

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import cast

import torch

from icnet.sod.base import DetectionError, Key, Method, MissingMapError, SaliencyMap, SodError, Spec

__all__ = [
    "METHODS",
    "DetectionError",
    "Key",
    "Method",
    "MissingMapError",
    "SaliencyMap",
    "SodError",
    "Spec",
    "estimate_memory",
    "make_method",
    "resolve_spec",
    "uses_gpu",
]

DEFAULT_MEMORY = 1 << 30
"""Bytes that a method needs at most, besides the images, where its module gives no estimate."""

METHODS = {
    "gc": "icnet.sod.global_contrast",
    "egnet": "icnet.sod.egnet",
    "cpd": "icnet.sod.cpd",
    "f3net": "icnet.sod.f3net",
    "basnet": "icnet.sod.basnet",
    "u2net": "icnet.sod.u2net",
    "u2netp": "icnet.sod.u2net",
    "onnx": "icnet.sod.onnx",
    "maps": "icnet.sod.maps",
    "ones": "icnet.sod.ones",
}
"""The module of each kind of method. It is imported when it is used, because some take seconds.

A module has `make(spec, device)`, which returns a Method. It may have `uses_gpu()`, whether the method can use a GPU
(without it: no), and `estimate_memory(spec, pixels)`, the bytes at the peak of one image, weights included.
"""


def make_method(spec: str, device: torch.device | str = "cpu") -> Method:
    """Make the SOD method that `kind:file?option=value` specifies. Raises SodError if it cannot be made."""
    return cast(Method, _import_module(spec).make(Spec.parse(spec), torch.device(device)))


def resolve_spec(spec: str) -> str:
    """Return the same specification with an absolute path, for processes with another working directory."""
    parsed = Spec.parse(spec)
    if not parsed.file:
        return spec
    return spec.replace(f":{parsed.file}", f":{Path(parsed.file).absolute().as_posix()}", 1)


def uses_gpu(spec: str) -> bool:
    """Whether the method of this specification can run on a GPU."""
    module = _import_module(spec)
    return hasattr(module, "uses_gpu") and bool(module.uses_gpu())


def estimate_memory(spec: str, pixels: int) -> int:
    """Estimate the bytes of main memory that the method needs for an image of so many pixels."""
    module = _import_module(spec)
    if not hasattr(module, "estimate_memory"):
        return DEFAULT_MEMORY
    return int(module.estimate_memory(Spec.parse(spec), pixels))


def _import_module(spec: str) -> ModuleType:
    kind = Spec.parse(spec).kind
    if kind not in METHODS:
        raise SodError(f"{spec!r}: there is no SOD method {kind!r}; there are {', '.join(METHODS)}")
    return import_module(METHODS[kind])
