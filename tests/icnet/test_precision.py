"""Which precision `auto` is."""

import torch

from icnet import hardware, precision


def test_a_named_precision_stays_and_auto_is_float32_without_hardware(monkeypatch):
    cpu = torch.device("cpu")
    assert precision.resolve_precision("bf16", cpu) == "bf16"
    monkeypatch.setattr(hardware, "read_cpu_flags", lambda: {"avx2", "avx512f"})
    assert precision.resolve_precision("auto", cpu) == "float32"
    for flag in ("avx512_bf16", "amx_bf16"):
        monkeypatch.setattr(hardware, "read_cpu_flags", lambda flag=flag: {"avx2", flag})
        assert precision.resolve_precision("auto", cpu) == "bf16"
