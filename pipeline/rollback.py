"""Make the champion before the champion again: `python -m pipeline.rollback`, or name a version of the model."""

from typing import Annotated

import typer

from pipeline import command, registry, tracking


def main(
    version: Annotated[str | None, typer.Argument(help="the version to take; without it, the champion before")] = None,
    name: Annotated[str, typer.Option(help="the registered model")] = "icnet",
) -> None:
    """Point the alias `champion` back. The version that is left is not promoted again by the gate."""
    left, taken = registry.rollback(registry.Registry(name, tracking.server()), version)
    print(f"models:/{name}@champion is version {taken} again, no longer {left}")


if __name__ == "__main__":
    command.run("pipeline.rollback")
