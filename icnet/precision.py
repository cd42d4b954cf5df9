"""Floating-point precision of training: names, data types, and which of them a device computes fast."""

from pathlib import Path

import torch

PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

BF16_FLAGS = {"avx512_bf16", "amx_bf16"}
"""Features of x86 processors that compute bfloat16 products in hardware, as Linux names them."""

AMPERE = (8, 0)
"""Compute capability of the first NVIDIA GPUs with bfloat16."""

CPU_INFO = Path("/proc/cpuinfo")


def resolve_precision(name: str, device: torch.device) -> str:
    """`name`, or for "auto" bf16 where the device has it in hardware and float32 elsewhere.

    Without hardware support bf16 is several times slower than float32 on a CPU.
    """
    if name != "auto":
        return name
    return "bf16" if has_fast_bf16(device) else "float32"


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device computes bfloat16 products in hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= AMPERE
    return bool(BF16_FLAGS & read_cpu_flags())


def read_cpu_flags(file: Path = CPU_INFO) -> set[str]:
    """The features of the processor, from Linux's `/proc/cpuinfo`; empty on other systems."""
    if not file.is_file():
        return set()
    for line in file.read_text().splitlines():
        if line.startswith("flags"):
            return set(line.partition(":")[2].split())
    return set()
