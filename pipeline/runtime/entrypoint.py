"""How stages (`python -m pipeline.<stage> ...`) and `cosal` start from the shell."""

import importlib
import signal
import sys
from functools import partial
from types import FrameType

import typer


def run_stage(stage: str) -> None:
    """Run `main` of `pipeline.<stage>.stage`."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(importlib.import_module(f"pipeline.{stage}.stage").main)
    run_app(app, stage)


def run_app(app: typer.Typer, name: str) -> None:
    """Run a command line. An error that the project raises on purpose is one message, not a traceback.

    SIGTERM ends it as Ctrl-C does: what is open is closed, and locks and temporary files are removed.
    """
    signal.signal(signal.SIGTERM, partial(_stop, name))
    try:
        app()
    except Exception as error:
        if not is_intended(error):
            raise
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(1)


def is_intended(error: Exception) -> bool:
    """Whether the project raises this error on purpose, with one sentence for the user."""
    return type(error).__module__.partition(".")[0] in ("icnet", "pipeline")


def _stop(name: str, number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one must not interrupt the clean-up
    print(f"{name}: stopped by {signal.Signals(number).name}", file=sys.stderr)
    raise SystemExit(128 + number)
