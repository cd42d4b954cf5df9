"""The command `cosal`, in this process."""

from typer.testing import CliRunner

from pipeline.cli.app import app


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def predict(photos, out, model, *more):
    return run("predict", photos, out, "--model", model, "--sism", "ones", *more)
