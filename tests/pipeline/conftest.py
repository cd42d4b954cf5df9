"""What tests of several modules need."""

import pytest
from mlflow.tracking import MlflowClient


@pytest.fixture(scope="module")
def mlflow_here(tmp_path_factory):
    """MLflow in a database of this module's own."""
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.chdir(folder)
        yield MlflowClient(uri, uri)
