"""The registered model as a package: weights, SOD method, code, signature and example."""

import ast
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

import icnet
from icnet import images
from icnet.sod.base import Spec
from pipeline import tracking
from pipeline.register.registry import RegistryError
from pipeline.tracking import Run

EMBEDDED_SOD = "register.sod"
"""The logged model's own name for its SOD method; MLflow logs it as a parameter of the run."""

SERVING_FILE = Path(__file__).with_name("serving.py")

OPTIONAL_REQUIREMENTS = {"onnxruntime": "onnx"}
"""Packages that only one kind of SOD method needs."""


@contextmanager
def use_fluent_api(server: str) -> Iterator[None]:
    """For MLflow's functions that know one server at a time: this one, and afterwards the one before."""
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


def publish_model(run: Run, model: Path, spec: str, tags: Mapping[str, Any]) -> str:
    """Log the pyfunc of `pipeline/serving.py` to a run, with the SOD method `spec` inside; returns its model's id."""
    sod = Spec.parse(spec)
    artifacts = {"model": str(model.resolve())}
    if sod.file:
        artifacts["sod"] = str(Path(sod.file).resolve())
        spec = spec.replace(f":{sod.file}", ":{sod}", 1)
    there = tracking.get_client(run.server)
    trained = there.get_run(run.id)
    begun = there.create_logged_model(
        trained.info.experiment_id,
        name=trained.info.run_name,
        source_run_id=run.id,
        tags={key: str(value) for key, value in tags.items()},
        params=trained.data.params,
        model_type="co-saliency",
    )
    logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)
    with use_fluent_api(run.server):
        Model.log(
            artifact_path=None,
            flavor=mlflow.pyfunc,
            run_id=run.id,
            model_id=begun.model_id,
            python_model=str(SERVING_FILE),
            code_paths=[str(Path(icnet.__file__).parent)],
            artifacts=artifacts,
            model_config={EMBEDDED_SOD: spec},
            signature=make_signature(),
            input_example=make_example(),
            pip_requirements=list_requirements(sod.kind),
            step=BEFORE_ALL,
        )
    return begun.model_id


BEFORE_ALL = -1
"""A step that no metric has: MLflow copies the run's metrics of a model's step, and takes curves for them."""


def fetch_model(uri: str, folder: Path) -> tuple[Path, str]:
    """Copy a registered model (`models:/icnet@champion`) into `folder`; returns its weights and its SOD method.

    Raises RegistryError where the server does not know it.
    """
    server = tracking.find_server()
    try:
        with use_fluent_api(server):
            place = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))
    except MlflowException as error:
        raise RegistryError(f"{server} has no {uri}: {error.message}") from error
    flavor = Model.load(str(place)).flavors["python_function"]
    files = {name: place / entry["path"] for name, entry in flavor["artifacts"].items()}
    return files["model"], flavor["config"][EMBEDDED_SOD].replace("{sod}", str(files.get("sod", "")))


def make_signature() -> ModelSignature:
    """What the model takes and gives: one photograph a row."""
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


def list_requirements(kind: str) -> list[str]:
    """What the served code imports, pinned to the versions here; `kind` is that of its SOD method."""
    files = [SERVING_FILE, *Path(icnet.__file__).parent.rglob("*.py")]
    names = {name for file in files for name in _imports(ast.parse(file.read_text()))}
    names -= {"icnet", *sys.stdlib_module_names}
    names -= {name for name, needed_by in OPTIONAL_REQUIREMENTS.items() if needed_by != kind}
    owners = metadata.packages_distributions()
    packages = {name if name in owners[name] else owners[name][0] for name in names if name in owners}
    return sorted(f"{package}=={metadata.version(package).partition('+')[0]}" for package in packages)


def _imports(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found
