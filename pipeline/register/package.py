"""The registered model as a package: weights, SOD method, code, signature and example."""

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import LoggedModel
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

import icnet
from icnet import images
from icnet.sod.base import Spec
from pipeline import tracking
from pipeline.register.registry import ABSENT, RegistryError
from pipeline.register.requirements import SERVING_FILE, list_requirements
from pipeline.tracking import Run

EMBEDDED_SOD = "register.sod"
"""Name of the SOD method in the logged model's configuration. MLflow logs it as a parameter of the run."""

REFUSED = re.compile(r"[/:.%\"']")
"""Characters that MLflow refuses in the name of a logged model, and accepts in that of a run."""

BEFORE_ALL = -1
"""A step without metrics. MLflow copies the run's metrics of a model's step, and would copy points of the curves."""


@contextmanager
def use_fluent_api(server: str) -> Iterator[None]:
    """Use this server in MLflow's functions that know only one, and restore the former one at the end."""
    before = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
    mlflow.set_tracking_uri(server)
    mlflow.set_registry_uri(server)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)
        mlflow.set_registry_uri(None)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def publish_model(run: Run, weights: Path, spec: str, tags: Mapping[str, Any]) -> str:
    """Log the pyfunc of serving.py to a run, with the SOD method `spec` inside. Returns the id of the logged model."""
    sod = Spec.parse(spec)
    artifacts = {"model": str(weights.resolve())}
    if sod.file:
        artifacts["sod"] = str(Path(sod.file).resolve())
        spec = spec.replace(f":{sod.file}", ":{sod}", 1)
    logged = _create_logged_model(run, tags)
    logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)
    with use_fluent_api(run.server):
        Model.log(
            artifact_path=None,
            flavor=mlflow.pyfunc,
            run_id=run.id,
            model_id=logged.model_id,
            python_model=str(SERVING_FILE),
            code_paths=[str(Path(icnet.__file__).parent)],
            artifacts=artifacts,
            model_config={EMBEDDED_SOD: spec},
            signature=make_signature(),
            input_example=make_example(),
            pip_requirements=list_requirements(sod.kind),
            step=BEFORE_ALL,
        )
    return str(logged.model_id)


def _create_logged_model(run: Run, tags: Mapping[str, Any]) -> LoggedModel:
    client = tracking.get_client(run.server)
    trained = client.get_run(run.id)
    return client.create_logged_model(
        trained.info.experiment_id,
        name=REFUSED.sub("_", trained.info.run_name),
        source_run_id=run.id,
        tags={key: str(value) for key, value in tags.items()},
        params=trained.data.params,
        model_type="co-saliency",
    )


def fetch_model(uri: str, folder: Path) -> tuple[Path, str]:
    """Copy a registered model (`models:/icnet@champion`) into `folder`. Returns its weights and its SOD method.

    Raises RegistryError if the server does not have it, and TrackingError if the server fails.
    """
    server = tracking.find_server()
    with tracking.translate_errors(server, "run the command again when it answers"), use_fluent_api(server):
        try:
            place = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))
        except MlflowException as error:
            if error.error_code not in (ABSENT, "INVALID_PARAMETER_VALUE"):
                raise
            reason = tracking.describe_error(error)
            raise RegistryError(f"{tracking.hide_password(server)} has no {uri}: {reason}") from error
    flavor = Model.load(str(place)).flavors["python_function"]
    files = {name: place / entry["path"] for name, entry in flavor["artifacts"].items()}
    return files["model"], flavor["config"][EMBEDDED_SOD].replace("{sod}", str(files.get("sod", "")))


def make_signature() -> ModelSignature:
    """What the model takes and returns: one photograph a row."""
    optional = [ColSpec("binary", "sism", False), ColSpec("string", "group", False), ColSpec("string", "name", False)]
    outputs = [ColSpec("string", "group"), ColSpec("string", "name"), ColSpec("binary", "map")]
    params = ParamSchema([ParamSpec("output", "string", "png")])
    return ModelSignature(Schema([ColSpec("binary", "image"), *optional]), Schema(outputs), params)


def make_example() -> pd.DataFrame:
    """A group of two small pictures of a disc."""
    y, x = np.mgrid[:48, :64]
    discs = [(y - 24) ** 2 + (x - column) ** 2 < 144 for column in (20, 40)]
    pictures = [np.where(disc[..., None], (230, 120, 40), (40, 70, 110)).astype(np.uint8) for disc in discs]
    return pd.DataFrame({"image": [images.encode(picture) for picture in pictures]})
