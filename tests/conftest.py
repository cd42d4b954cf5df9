"""Fixtures that tests share: the reference material, if it is beside the checkout, and one real Ray."""

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # tiny networks: most time would be spent in threads that wait for each other

import pytest
from hypothesis import settings

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

ROOT = Path(__file__).resolve().parents[1]

LONGEST = [
    "tests/test_repro.py",
    "tests/pipeline/train/test_train.py",
    "tests/pipeline/group/test_group.py",
    "tests/icnet/test_onnx_export.py",
    "tests/pipeline/register/test_register.py",
    "tests/pipeline/serve/test_serve.py",
    "tests/pipeline/predict/test_predict.py",
    "tests/test_tour.py",
    "tests/recovery/test_crashes.py",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest files first: at the end, one would run alone while the other process waits."""
    order = {file: place for place, file in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.nodeid.partition("::")[0], len(order)))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference material beside the checkout; a test that needs it is skipped without it."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("the reference material (../shared) is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One local Ray for the whole session."""
    import ray

    from pipeline.runtime import cluster

    os.environ.pop("RAY_ADDRESS", None)
    with cluster.connect():
        yield
    assert not ray.is_initialized()
