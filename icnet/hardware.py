"""What a device computes fast: bfloat16 products, and convolutions in channels-last memory format."""

from pathlib import Path

import torch

BF16_FLAGS = {"avx512_bf16", "amx_bf16"}
"""Features of x86 processors that compute bfloat16 products in hardware, as Linux names them."""

AMPERE = (8, 0)
"""Compute capability of the first NVIDIA GPUs with bfloat16."""

CPU_INFO = Path("/proc/cpuinfo")


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device computes bfloat16 products in hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= AMPERE
    return bool(BF16_FLAGS & read_cpu_flags())


def trains_fast_with_channels_last(device: torch.device) -> bool:
    """Whether channels last is the faster memory format to train convolutions in float32.

    It is everywhere but on x86 processors without AVX512. With contiguous tensors, their weight gradients and a whole
    training step of VGG-16 take a third less time (`benchmarks/model.py training --formats`).
    """
    flags = read_cpu_flags()
    return device.type != "cpu" or not flags or "avx512f" in flags


def read_cpu_flags(file: Path = CPU_INFO) -> set[str]:
    """The features of the processor, from Linux's `/proc/cpuinfo`; empty on other systems."""
    if not file.is_file():
        return set()
    for line in file.read_text().splitlines():
        if line.startswith("flags"):
            return set(line.partition(":")[2].split())
    return set()
