"""Open runs: start one, continue one, or find the one that a later stage adds to."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from pipeline.tracking.errors import SERVER_ERRORS, TrackingError
from pipeline.tracking.provenance import describe_origin
from pipeline.tracking.run import DataSource, Run, find_run
from pipeline.tracking.server import find_experiment, find_server, get_client, lock_server

RESTORED, METHOD = "icnet.restored_from", "icnet.method"
"""Tags: the id of the run that a run replaces, and the name of the method that a run holds scores of."""


@contextmanager
def start_run(
    name: str,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    datasets: Sequence[DataSource] = (),
    resume: str | None = None,
    system_metrics: bool = False,
    created: Callable[[Run], None] | None = None,
) -> Iterator[Run]:
    """Open a run, or continue the run `resume` if the server knows it. It ends as FINISHED, FAILED or KILLED.

    `created` gets a new run before anything is logged, to remember it.

    The run is named after the DVC experiment, if there is one. Where MLflow itself failed, the end is not reported:
    that would only wait again for the same server.
    """
    run = find_run(resume, find_server()) if resume else None
    if run is None:
        run = _create_run(os.environ.get("DVC_EXP_NAME") or name)
        if created is not None:
            created(run)
    get_client(run.server).update_run(run.id, status="RUNNING")
    run.set_tags({**describe_origin(), **(tags or {})})
    run.log_params(params or {})
    run.log_datasets(datasets)
    with _monitor_system(run, system_metrics):
        try:
            yield run
        except (TrackingError, *SERVER_ERRORS):
            raise
        except BaseException as error:
            killed = isinstance(error, KeyboardInterrupt | SystemExit)
            with suppress(Exception):  # the error above matters more
                run.finish("KILLED" if killed else "FAILED")
            raise
    run.finish()


@contextmanager
def _monitor_system(run: Run, wanted: bool) -> Iterator[None]:
    """Log the use of CPU, memory and GPU while the block runs."""
    if not wanted:
        yield
        return
    monitor = SystemMetricsMonitor(run.id, resume_logging=True, tracking_uri=run.server)
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()


def reopen_run(run_id: str | None, name: str = "restored") -> Run:
    """The run of a training, for a later stage to add to.

    If this server does not know the run (the model came from a DVC cache or from another machine), it is replaced by
    a run with the tag `icnet.restored_from`. All later stages use the same one.
    """
    found = find_run(run_id, find_server()) if run_id else None
    return found or _find_tagged_run(name, RESTORED, run_id or "unknown")


def open_method_run(name: str) -> Run:
    """The run that holds the scores of a method that is not trained here. There is one for each name."""
    return _find_tagged_run(name, METHOD, name)


def _create_run(name: str) -> Run:
    uri = find_server()
    return Run(get_client(uri).create_run(find_experiment(uri), run_name=name).info.run_id, uri)


def _find_tagged_run(name: str, tag: str, value: str) -> Run:
    """The oldest run with a tag. It is created if there is none."""
    uri, value = find_server(), value.replace("'", "_")
    experiment = find_experiment(uri)
    with lock_server(uri):
        order = ["attributes.start_time ASC"]
        runs = get_client(uri).search_runs([experiment], f"tags.`{tag}` = '{value}'", order_by=order, max_results=1)
        if runs:
            return Run(runs[0].info.run_id, uri)
        run = _create_run(name)
        run.set_tags({**describe_origin(), tag: value})
        run.finish()
    return run
