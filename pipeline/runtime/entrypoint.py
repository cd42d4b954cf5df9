"""How stages (`python -m pipeline.<stage> ...`) and `cosal` start from the shell."""

import importlib
import sys

import typer


def run_stage(stage: str) -> None:
    """Run `main` of `pipeline.<stage>.stage`."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(importlib.import_module(f"pipeline.{stage}.stage").main)
    run_app(app, stage)


def run_app(app: typer.Typer, name: str) -> None:
    """Run a command line; an error that the project raises on purpose is one message, not a traceback."""
    try:
        app()
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("icnet", "pipeline"):
            raise
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(1)
