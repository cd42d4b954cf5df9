"""Which precision `auto` is."""

import torch

from icnet import precision


def test_a_named_precision_stays_and_auto_is_float32_without_hardware(monkeypatch, tmp_path):
    cpu = torch.device("cpu")
    assert precision.resolve_precision("bf16", cpu) == "bf16"
    monkeypatch.setattr(precision, "read_cpu_flags", lambda: {"avx2", "avx512f"})
    assert precision.resolve_precision("auto", cpu) == "float32"
    for flag in ("avx512_bf16", "amx_bf16"):
        monkeypatch.setattr(precision, "read_cpu_flags", lambda flag=flag: {"avx2", flag})
        assert precision.resolve_precision("auto", cpu) == "bf16"


def test_the_features_of_a_processor_are_read_from_its_description(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16\nbugs\t: none\n")
    assert precision.read_cpu_flags(file) == {"fpu", "avx2", "avx512_bf16"}
    assert precision.read_cpu_flags(tmp_path / "absent") == set()
