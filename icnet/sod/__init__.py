"""Single-image saliency (SOD) methods behind one function. A new method is one module and one line in METHODS."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from icnet.sod import global_contrast, maps, ones, onnx
from icnet.sod.method import Key, Method, MissingMapError, SodError, Spec

__all__ = ["METHODS", "Key", "Method", "MissingMapError", "SodError", "absolute", "make", "uses_gpu"]


class Kind(NamedTuple):
    """How a kind of method is made, and whether it can use a GPU."""

    make: Callable[[Spec, torch.device], Method]
    gpu: Callable[[], bool] = lambda: False


METHODS = {
    "gc": Kind(global_contrast.make),
    "onnx": Kind(onnx.make, gpu=onnx.has_cuda),
    "maps": Kind(maps.make),
    "ones": Kind(ones.make),
}


def make(spec: str, device: torch.device | str = "cpu") -> Method:
    """Make the SOD method that `kind:file?option=value` names, on a device. SodError if it cannot be made."""
    return _kind(spec).make(Spec.parse(spec), torch.device(device))


def absolute(spec: str) -> str:
    """The same specification with its file's absolute path, for a process that stands in another folder."""
    parsed = Spec.parse(spec)
    if not parsed.file:
        return spec
    return spec.replace(f":{parsed.file}", f":{Path(parsed.file).absolute().as_posix()}", 1)


def uses_gpu(spec: str) -> bool:
    """Whether the method of this specification runs on a GPU where it gets one."""
    return _kind(spec).gpu()


def _kind(spec: str) -> Kind:
    kind = Spec.parse(spec).kind
    if kind not in METHODS:
        raise SodError(f"{spec!r}: there is no SOD method {kind!r}; there are {', '.join(METHODS)}")
    return METHODS[kind]
