"""The comparison with stored outputs notices a change without a new version."""

import pytest

from tests.helpers import golden


def test_a_changed_output_needs_a_new_version(tmp_path, monkeypatch):
    file = tmp_path / "golden.json"
    with pytest.raises(AssertionError, match="nothing is stored yet"):
        golden.check(file, "maps", 1, {"a": [1.0, 2.0]}, 0.1)
    monkeypatch.setenv("GOLDEN", "write")
    golden.check(file, "maps", 1, {"a": [1.0, 2.0]}, 0.1)
    with pytest.raises(AssertionError, match="raise OUTPUT_VERSION first"):
        golden.check(file, "maps", 1, {"a": [1.0, 2.2]}, 0.1)
    monkeypatch.delenv("GOLDEN")
    golden.check(file, "maps", 1, {"a": [1.0, 2.05]}, 0.1)
    for output in ({"a": [1.0, 2.2]}, {"a": [1.0]}, {"b": [1.0, 2.0]}, {"a": "text"}):
        with pytest.raises(AssertionError, match="the output changed, raise OUTPUT_VERSION"):
            golden.check(file, "maps", 1, output, 0.1)
    with pytest.raises(AssertionError, match="OUTPUT_VERSION changed"):
        golden.check(file, "maps", 2, {"a": [1.0, 2.0]}, 0.1)
    monkeypatch.setenv("GOLDEN", "write")
    golden.check(file, "maps", 2, {"a": [1.0, 2.2]}, 0.1)
    monkeypatch.delenv("GOLDEN")
    golden.check(file, "maps", 2, {"a": [1.0, 2.2]}, 0.1)
