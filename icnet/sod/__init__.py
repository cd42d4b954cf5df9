"""Single-image saliency (SOD) methods behind one function. A new method is one module and one line in METHODS."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from icnet.sod import basnet, cpd, egnet, f3net, global_contrast, maps, network, ones, onnx, u2net
from icnet.sod.base import Method, SodError, Spec

__all__ = ["METHODS", "Key", "Method", "MissingMapError", "SodError", "make_method", "resolve_spec", "uses_gpu"]


class Kind(NamedTuple):
    """How a kind of method is made, and whether it can use a GPU."""

    make: Callable[[Spec, torch.device], Method]
    uses_gpu: Callable[[], bool] = lambda: False


METHODS = {
    "gc": Kind(global_contrast.make),
    "egnet": Kind(egnet.make, network.uses_gpu),
    "cpd": Kind(cpd.make, network.uses_gpu),
    "f3net": Kind(f3net.make, network.uses_gpu),
    "basnet": Kind(basnet.make, network.uses_gpu),
    "u2net": Kind(u2net.make, network.uses_gpu),
    "u2netp": Kind(u2net.make, network.uses_gpu),
    "onnx": Kind(onnx.make, onnx.has_cuda),
    "maps": Kind(maps.make),
    "ones": Kind(ones.make),
}


def make_method(spec: str, device: torch.device | str = "cpu") -> Method:
    """Make the SOD method that `kind:file?option=value` names, on a device. SodError if it cannot be made."""
    return _find_kind(spec).make(Spec.parse(spec), torch.device(device))


def resolve_spec(spec: str) -> str:
    """The same specification with its file's absolute path, for a process that stands in another folder."""
    parsed = Spec.parse(spec)
    if not parsed.file:
        return spec
    return spec.replace(f":{parsed.file}", f":{Path(parsed.file).absolute().as_posix()}", 1)


def uses_gpu(spec: str) -> bool:
    """Whether the method of this specification runs on a GPU where it gets one."""
    return _find_kind(spec).uses_gpu()


def _find_kind(spec: str) -> Kind:
    kind = Spec.parse(spec).kind
    if kind not in METHODS:
        raise SodError(f"{spec!r}: there is no SOD method {kind!r}; there are {', '.join(METHODS)}")
    return METHODS[kind]
