"""Single-image saliency (SOD) methods, all made from a specification by `make_method`.

A new method is one module and one line in METHODS.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from icnet.sod import basnet, cpd, egnet, f3net, global_contrast, maps, network, ones, onnx, u2net
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


class Kind(NamedTuple):
    """How methods of one kind are made, whether they can use a GPU, and how much memory they need.

    estimate_memory: (specification, pixels of the image) to bytes at the peak of one image, weights included.
    """

    make: Callable[[Spec, torch.device], Method]
    uses_gpu: Callable[[], bool] = lambda: False
    estimate_memory: Callable[[Spec, int], int] = lambda spec, pixels: DEFAULT_MEMORY


METHODS = {
    "gc": Kind(global_contrast.make, estimate_memory=global_contrast.estimate_memory),
    "egnet": Kind(egnet.make, network.uses_gpu, egnet.estimate_memory),
    "cpd": Kind(cpd.make, network.uses_gpu),
    "f3net": Kind(f3net.make, network.uses_gpu),
    "basnet": Kind(basnet.make, network.uses_gpu),
    "u2net": Kind(u2net.make, network.uses_gpu),
    "u2netp": Kind(u2net.make, network.uses_gpu),
    "onnx": Kind(onnx.make, onnx.has_cuda, onnx.estimate_memory),
    "maps": Kind(maps.make, estimate_memory=maps.estimate_memory),
    "ones": Kind(ones.make, estimate_memory=ones.estimate_memory),
}


def make_method(spec: str, device: torch.device | str = "cpu") -> Method:
    """Make the SOD method that `kind:file?option=value` specifies. Raises SodError if it cannot be made."""
    return _find_kind(spec).make(Spec.parse(spec), torch.device(device))


def resolve_spec(spec: str) -> str:
    """Return the same specification with an absolute path, for processes with another working directory."""
    parsed = Spec.parse(spec)
    if not parsed.file:
        return spec
    return spec.replace(f":{parsed.file}", f":{Path(parsed.file).absolute().as_posix()}", 1)


def uses_gpu(spec: str) -> bool:
    """Whether the method of this specification can run on a GPU."""
    return _find_kind(spec).uses_gpu()


def estimate_memory(spec: str, pixels: int) -> int:
    """Estimate the bytes of main memory that the method needs for an image of so many pixels."""
    return _find_kind(spec).estimate_memory(Spec.parse(spec), pixels)


def _find_kind(spec: str) -> Kind:
    kind = Spec.parse(spec).kind
    if kind not in METHODS:
        raise SodError(f"{spec!r}: there is no SOD method {kind!r}; there are {', '.join(METHODS)}")
    return METHODS[kind]
