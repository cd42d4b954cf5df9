"""The versions of the registered model, and the aliases that point to them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from pipeline import tracking
from pipeline.tracking import Run

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"

ABSENT = "RESOURCE_DOES_NOT_EXIST"
"""MLflow's error code for what it does not have."""


class RegistryError(ValueError):
    """A model or a version that does not exist, or an alias that cannot move. The message says why."""


@dataclass(frozen=True)
class Registry:
    """The versions of one registered model on a server."""

    name: str
    server: str

    @cached_property
    def client(self) -> MlflowClient:
        """The client of the server."""
        return tracking.get_client(self.server)

    def create_model(self, description: str) -> None:
        """Create the registered model, if it does not exist."""
        try:
            self.client.create_registered_model(self.name, description=description)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def get_aliases(self) -> dict[str, str]:
        """The version of each alias. Empty if the model does not exist."""
        try:
            model = self.client.get_registered_model(self.name)
        except MlflowException as error:
            if error.error_code != ABSENT:
                raise
            return {}
        return {alias: str(number) for alias, number in model.aliases.items()}

    def get_version(self, number: str) -> ModelVersion:
        """One version. Raises RegistryError if it does not exist."""
        try:
            return self.client.get_model_version(self.name, number)
        except MlflowException as error:
            if error.error_code not in (ABSENT, "INVALID_PARAMETER_VALUE"):
                raise
            raise RegistryError(f"{self.name} has no version {number}") from error

    def find_version(self, identity: str) -> ModelVersion | None:
        """The version of the same model, or None."""
        query = f"name = '{self.name}' and tags.identity = '{identity}'"
        found = sorted(self.client.search_model_versions(query), key=lambda version: int(version.version))
        return found[0] if found else None

    def add_version(self, run: Run, model_id: str, tags: Mapping[str, Any]) -> ModelVersion:
        """Make a logged model the next version, and note that on the logged model."""
        version = self.client.create_model_version(
            self.name,
            f"models:/{model_id}",
            run.id,
            tags={key: str(value) for key, value in tags.items()},
            model_id=model_id,
        )
        versions = json.dumps([{"name": version.name, "version": version.version}])
        self.client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: versions})
        return version

    def set_alias(self, alias: str, number: str) -> None:
        """Point an alias to a version."""
        self.client.set_registered_model_alias(self.name, alias, number)

    def promote(self, number: str) -> None:
        """Make a version the champion. The former champion becomes `previous`."""
        aliases = self.get_aliases()
        current = aliases.get(CHAMPION)
        if current != number:
            if current is not None:
                self.set_alias(PREVIOUS, current)  # first: after a kill in between, both are repeated
            self.set_alias(CHAMPION, number)
        if aliases.get(CHALLENGER) == number:
            self.client.delete_registered_model_alias(self.name, CHALLENGER)

    def annotate(self, number: str, description: str | None = None, **tags: str) -> None:
        """Set tags and a description on a version."""
        for key, value in tags.items():
            self.client.set_model_version_tag(self.name, number, key, value)
        if description is not None:
            self.client.update_model_version(self.name, number, description)


def roll_back(registry: Registry, number: str | None = None) -> tuple[str, str]:
    """Make the version `number`, or the previous champion, the champion. Returns the old and the new version.

    The old version is not promoted again automatically. Raises RegistryError if there is no such version, and
    TrackingError if MLflow fails.
    """
    with tracking.translate_errors(registry.server, "run the command again"), tracking.lock_server(registry.server):
        aliases = registry.get_aliases()
        current, target = aliases.get(CHAMPION), number or aliases.get(PREVIOUS)
        if target is None or current is None:
            raise RegistryError(f"{registry.name} has no previous champion: name a version")
        registry.get_version(target)
        if target == current:
            raise RegistryError(f"version {target} of {registry.name} is already the champion")
        registry.annotate(current, rolled_back="true", gate_reason=f"rolled back manually to version {target}")
        registry.annotate(target, rolled_back="false", gate_reason=f"made champion manually after version {current}")
        registry.promote(target)
    return current, target
