"""Versions of the registered model and the aliases that point to them; beside tracking alone in knowing MLflow."""

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
        return tracking.get_client(self.server)

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


def roll_back(registry: Registry, number: str | None = None) -> tuple[str, str]:
    """Make `number`, or the champion before, the champion again; returns the versions left and taken.

    The version that is left is not promoted again by itself. Raises RegistryError where there is nothing to go back to.
    """
    with tracking.lock_server(registry.server):
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
