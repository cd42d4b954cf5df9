"""How stages (`python -m pipeline.<stage> ...`) and `cosal` start from the shell."""

import importlib
import sys

import typer


def run(module: str) -> None:
    """Run the `main` of a stage's module.

    The module is imported by its name, so that what Ray sends to its workers can be imported there.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(importlib.import_module(module).main)
    answer(app, module.rpartition(".")[2])


def answer(app: typer.Typer, name: str) -> None:
    """Run a command line; an error that the project raises on purpose is one message, not a traceback."""
    try:
        app()
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("icnet", "pipeline"):
            raise
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(1)
