"""Stored outputs: a test fails when an output changes and its OUTPUT_VERSION does not.

After a change on purpose, raise the version and run the test once with GOLDEN=write, which stores the new output.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np


def check(file: Path, name: str, version: int, output: dict[str, Any], tolerance: float) -> None:
    """Compare an output, lists of numbers or texts by name, with the one stored in `file` under `name`."""
    stored = json.loads(file.read_text()) if file.exists() else {}
    before = stored.get(name)
    changed = before is None or not _is_close(before["output"], output, tolerance)
    if os.environ.get("GOLDEN") == "write":
        assert before is None or not changed or before["version"] != version, f"{name}: raise OUTPUT_VERSION first"
        stored[name] = {"version": version, "output": output}
        file.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")
        return
    assert before is not None, f"{name}: nothing is stored yet, run the test with GOLDEN=write"
    assert before["version"] == version, f"{name}: OUTPUT_VERSION changed, run the test with GOLDEN=write"
    assert not changed, f"{name}: the output changed, raise OUTPUT_VERSION and run the test with GOLDEN=write"


def _is_close(before: dict[str, Any], output: dict[str, Any], tolerance: float) -> bool:
    if before.keys() != output.keys():
        return False
    return all(_equals(before[key], output[key], tolerance) for key in output)


def _equals(before: Any, value: Any, tolerance: float) -> bool:
    if isinstance(value, str) or value is None or (isinstance(value, list) and value and isinstance(value[0], str)):
        return before == value
    before, value = np.asarray(before, float), np.asarray(value, float)
    return before.shape == value.shape and np.allclose(before, value, rtol=0, atol=tolerance)


def summarize(array: np.ndarray, cells: int = 4) -> list[list[float]]:
    """Means of a map or mask [h, w], or of an image's channels [h, w, c], over a grid of cells: robust to rounding."""
    rows = np.array_split(np.asarray(array, float), cells, axis=0)
    return [[round(float(part.mean()), 3) for part in np.array_split(row, cells, axis=1)] for row in rows]
