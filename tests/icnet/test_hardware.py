"""What a device computes fast is read from the description of the processor."""

import torch

from icnet import hardware


def test_the_features_of_a_processor_are_read_from_its_description(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16\nbugs\t: none\n")
    assert hardware.read_cpu_flags(file) == {"fpu", "avx2", "avx512_bf16"}
    assert hardware.read_cpu_flags(tmp_path / "absent") == set()


def test_only_processors_with_avx2_alone_train_with_contiguous_tensors(monkeypatch):
    expected = {("avx2",): False, ("avx2", "avx512f"): True, (): True}
    for flags, fast in expected.items():
        monkeypatch.setattr(hardware, "read_cpu_flags", lambda flags=flags: set(flags))
        assert hardware.trains_fast_with_channels_last(torch.device("cpu")) == fast
        assert hardware.trains_fast_with_channels_last(torch.device("cuda"))
