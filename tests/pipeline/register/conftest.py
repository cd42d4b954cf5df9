"""A registered model for each test, in one database for each module."""

import pytest

from pipeline.register.registry import Registry


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def place(server, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def registry(place, request, server):
    return Registry(f"icnet-{abs(hash(request.node.name))}", server)
