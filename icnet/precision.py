"""Floating-point precision: names, data types, and the one for a device."""

import torch

from icnet.hardware import has_fast_bf16

PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_precision(name: str, device: torch.device) -> str:
    """`name`, or for "auto" bf16 where the device has it in hardware and float32 elsewhere.

    Without hardware support bf16 is several times slower than float32 on a CPU.
    """
    if name != "auto":
        return name
    return "bf16" if has_fast_bf16(device) else "float32"
