"""Versions of the registered model and the aliases that point to them; beside tracking alone in knowing MLflow."""

import ast
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

import icnet
from icnet import images
from icnet.sod.method import Spec
from pipeline import tracking
from pipeline.tracking import Run

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
INSIDE = "register.sod"
"""The logged model's own name for its SOD method; MLflow logs it as a parameter of the run."""
SERVING = Path(__file__).with_name("serving.py")
OPTIONAL = {"onnxruntime": "onnx"}
"""Packages that only one kind of SOD method needs."""


class RegistryError(ValueError):
    """An alias that cannot be moved; the message says why."""


@dataclass(frozen=True)
class Registry:
    """The versions of one registered model on a server."""

    name: str
    server: str

    @cached_property
    def client(self) -> MlflowClient:
        """The server's registry."""
        return tracking.client(self.server)

    def create(self, description: str) -> None:
        """Make the registered model where there is none."""
        try:
            self.client.create_registered_model(self.name, description=description)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def aliases(self) -> dict[str, str]:
        """Version by alias."""
        return {alias: str(number) for alias, number in self.client.get_registered_model(self.name).aliases.items()}

    def version(self, number: str) -> ModelVersion:
        """One version. Raises RegistryError where there is none."""
        try:
            return self.client.get_model_version(self.name, number)
        except MlflowException as error:
            raise RegistryError(f"{self.name} has no version {number}") from error

    def find(self, identity: str) -> ModelVersion | None:
        """The version that was made of the same model, if any."""
        query = f"name = '{self.name}' and tags.identity = '{identity}'"
        found = sorted(self.client.search_model_versions(query), key=lambda version: int(version.version))
        return found[0] if found else None

    def add(self, run: Run, model_id: str, tags: Mapping[str, Any]) -> ModelVersion:
        """Make a logged model the next version, and let the model's page say so."""
        made = self.client.create_model_version(
            self.name,
            f"models:/{model_id}",
            run.id,
            tags={key: str(value) for key, value in tags.items()},
            model_id=model_id,
        )
        versions = json.dumps([{"name": made.name, "version": made.version}])
        self.client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: versions})
        return made

    def point(self, alias: str, number: str) -> None:
        """Let an alias point to a version."""
        self.client.set_registered_model_alias(self.name, alias, number)

    def promote(self, number: str) -> None:
        """Make a version the champion; the champion until now becomes `previous`."""
        aliases = self.aliases()
        if aliases.get(CHAMPION) == number:
            return
        self.point(CHAMPION, number)
        if CHAMPION in aliases:
            self.point(PREVIOUS, aliases[CHAMPION])
        if aliases.get(CHALLENGER) == number:
            self.client.delete_registered_model_alias(self.name, CHALLENGER)

    def note(self, number: str, description: str | None = None, **tags: str) -> None:
        """Write tags, and a description for a person, on a version."""
        for key, value in tags.items():
            self.client.set_model_version_tag(self.name, number, key, value)
        if description is not None:
            self.client.update_model_version(self.name, number, description)


def rollback(registry: Registry, number: str | None = None) -> tuple[str, str]:
    """Make `number`, or the champion before, the champion again; returns the versions left and taken.

    The version that is left is not promoted again by itself. Raises RegistryError where there is nothing to go back to.
    """
    with tracking.lock(registry.server):
        aliases = registry.aliases()
        current, target = aliases.get(CHAMPION), number or aliases.get(PREVIOUS)
        if target is None or current is None:
            raise RegistryError(f"{registry.name} has no champion before the present one: name a version")
        registry.version(target)
        if target == current:
            raise RegistryError(f"version {target} of {registry.name} is the champion already")
        registry.promote(target)
        registry.note(current, rolled_back="true", gate_reason=f"rolled back by hand to version {target}")
        registry.note(target, rolled_back="false", gate_reason=f"made champion by hand after version {current}")
    return current, target


@contextmanager
def fluent(server: str) -> Iterator[None]:
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


def publish(run: Run, model: Path, spec: str, tags: Mapping[str, Any]) -> str:
    """Log the pyfunc of `pipeline/serving.py` to a run, with the SOD method `spec` inside; returns its model's id."""
    sod = Spec.parse(spec)
    artifacts = {"model": str(model.resolve())}
    if sod.file:
        artifacts["sod"] = str(Path(sod.file).resolve())
        spec = spec.replace(f":{sod.file}", ":{sod}", 1)
    there = tracking.client(run.server)
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
    with fluent(run.server):
        Model.log(
            artifact_path=None,
            flavor=mlflow.pyfunc,
            run_id=run.id,
            model_id=begun.model_id,
            python_model=str(SERVING),
            code_paths=[str(Path(icnet.__file__).parent)],
            artifacts=artifacts,
            model_config={INSIDE: spec},
            signature=signature(),
            input_example=example(),
            pip_requirements=requirements(sod.kind),
            step=BEFORE_ALL,
        )
    return begun.model_id


BEFORE_ALL = -1
"""A step that no metric has: MLflow copies the run's metrics of a model's step, and takes curves for them."""


def fetch(uri: str, folder: Path) -> tuple[Path, str]:
    """Copy a registered model (`models:/icnet@champion`) into `folder`; returns its weights and its SOD method.

    Raises RegistryError where the server does not know it.
    """
    server = tracking.server()
    try:
        with fluent(server):
            place = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))
    except MlflowException as error:
        raise RegistryError(f"{server} has no {uri}: {error.message}") from error
    flavor = Model.load(str(place)).flavors["python_function"]
    files = {name: place / entry["path"] for name, entry in flavor["artifacts"].items()}
    return files["model"], flavor["config"][INSIDE].replace("{sod}", str(files.get("sod", "")))


def signature() -> ModelSignature:
    """What the model takes and gives: one photograph a row."""
    optional = [ColSpec("binary", "sism", False), ColSpec("string", "group", False), ColSpec("string", "name", False)]
    outputs = [ColSpec("string", "group"), ColSpec("string", "name"), ColSpec("binary", "map")]
    params = ParamSchema([ParamSpec("output", "string", "png")])
    return ModelSignature(Schema([ColSpec("binary", "image"), *optional]), Schema(outputs), params)


def example() -> pd.DataFrame:
    """A group of two small pictures of a disc."""
    y, x = np.mgrid[:48, :64]
    discs = [(y - 24) ** 2 + (x - column) ** 2 < 144 for column in (20, 40)]
    pictures = [np.where(disc[..., None], (230, 120, 40), (40, 70, 110)).astype(np.uint8) for disc in discs]
    return pd.DataFrame({"image": [images.encode(picture) for picture in pictures]})


def requirements(kind: str) -> list[str]:
    """What the served code imports, pinned to the versions here; `kind` is that of its SOD method."""
    files = [SERVING, *Path(icnet.__file__).parent.rglob("*.py")]
    names = {name for file in files for name in _imports(ast.parse(file.read_text()))}
    names -= {"icnet", *sys.stdlib_module_names}
    names -= {name for name, needed_by in OPTIONAL.items() if needed_by != kind}
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
