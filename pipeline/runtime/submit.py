"""`make submit`: run `dvc repro` as a job of a Ray cluster, show its output here, and end with its exit code.

The environment holds the settings: RAY_API_SERVER_ADDRESS is the dashboard of the cluster, SHARED the checkout as its
machines see it (default: this folder), ARGS what `dvc repro` gets. Every value is quoted, so spaces and characters that
a shell acts on have no effect.
"""

import asyncio
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from ray.job_submission import JobStatus, JobSubmissionClient

DEFAULT_ADDRESS = "http://127.0.0.1:8265"

FORWARDED_ENV_VARS = ("MLFLOW_TRACKING_URI", "AWS_ENDPOINT_URL")
"""Variables that the job gets. Ray shows them to everyone who sees the dashboard, so none may hold a password."""


class SubmitError(ValueError):
    """A job that must not or cannot be submitted; the message names the reason."""


def make_entrypoint(environment: Mapping[str, str]) -> str:
    """The shell command of the job. Raises SubmitError if a variable would show a password."""
    for name in FORWARDED_ENV_VARS:
        parts = urlsplit(environment.get(name, ""))
        if parts.username or parts.password:
            raise SubmitError(
                f"{name} holds a user or a password, which the dashboard of Ray would show: take them out, and set"
                " MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD where the machines of the cluster start Ray"
            )
    try:
        arguments = shlex.split(environment.get("ARGS", ""))
    except ValueError as error:
        raise SubmitError(f"ARGS={environment['ARGS']}: {error}") from None
    variables = [f"{name}={environment[name]}" for name in FORWARDED_ENV_VARS if environment.get(name)]
    command = shlex.join(["env", *variables, "dvc", "repro", *arguments])
    folder = environment.get("SHARED") or str(Path.cwd())
    return shlex.join(["bash", "-c", f"cd -- {shlex.quote(folder)} && exec {command}"])


def submit_job(environment: Mapping[str, str]) -> int:
    """Submit the job and show its output until it ends; returns 0 if it succeeded, else 1."""
    entrypoint, address = make_entrypoint(environment), environment.get("RAY_API_SERVER_ADDRESS") or DEFAULT_ADDRESS
    try:
        client = JobSubmissionClient(address)
        job = client.submit_job(entrypoint=entrypoint)
    except (ConnectionError, RuntimeError) as error:
        raise SubmitError(f"the cluster at {address} does not take the job: {error}") from error
    print(f"submit: job {job} on {address}", file=sys.stderr, flush=True)
    asyncio.run(_show_output(client, job))
    status = client.get_job_status(job)
    print(f"submit: job {job} {status.value.lower()}", file=sys.stderr)
    return 0 if status == JobStatus.SUCCEEDED else 1


async def _show_output(client: JobSubmissionClient, job: str) -> None:
    async for lines in client.tail_job_logs(job):
        print(lines, end="", flush=True)


def main() -> None:
    """Submit the job that the environment describes."""
    try:
        sys.exit(submit_job(os.environ))
    except SubmitError as error:
        print(f"submit: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
