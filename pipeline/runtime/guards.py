"""Errors of readers and actors as results: Ray would wrap the errors themselves, and print their tracebacks twice."""

import traceback
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.runtime import entrypoint
from pipeline.runtime.executor import Task

FAILURE, BUG = "failure", "bug"
"""Columns with the message of an error that is raised on purpose, and with the traceback of any other one."""


class WorkerDiedError(RuntimeError):
    """The process that computed an image died each time."""


class StreamError(RuntimeError):
    """A stream that this cluster cannot run, or that a reader or an actor ended; the message is one sentence."""


def guard(work: Callable[[Task], Task]) -> Callable[[Task], Task]:
    """`work`, with a description of an error as its result."""

    def run(task: Task) -> Task:
        if task.get(FAILURE) or task.get(BUG):
            return _describe_failure(task, task[FAILURE], task[BUG])
        try:
            return {FAILURE: "", BUG: "", **work(task)}
        except Exception as error:
            return _describe_failure(task, *_describe_error(error))

    return run


class GuardedActor:
    """An actor whose errors, also those of its constructor, become its result."""

    def __init__(self, make: Callable[[], Callable[[Task], Task]]) -> None:
        self.failure = "", ""
        try:
            self.work = guard(make())
        except Exception as error:
            self.failure = _describe_error(error)

    def __call__(self, task: Task) -> Task:
        return _describe_failure(task, *self.failure) if any(self.failure) else self.work(task)


def check_result(result: Task) -> None:
    """Raises StreamError for an error that was raised on purpose, RuntimeError with the traceback of any other one."""
    if result[FAILURE]:
        raise StreamError(result[FAILURE])
    if result[BUG]:
        raise RuntimeError(f"a worker failed:\n{result[BUG]}")


def make_rejects(rows: Sequence[dict[str, Any]], task: Task, stage: str) -> list[dict[str, Any]]:
    """Rows of REJECTS for those of a shard's `rows` that a task skips, named by group and name."""
    return [
        {
            "path": f"{rows[place]['group']}/{rows[place]['name']}",
            "group": rows[place]["group"],
            "name": rows[place]["name"],
            "stage": stage,
            "reason": reason,
            "error": WorkerDiedError.__name__,
        }
        for place, reason in task.get("skip", {}).items()
    ]


def _describe_error(error: Exception) -> tuple[str, str]:
    if entrypoint.is_intended(error):
        return str(error), ""
    return "", "".join(traceback.format_exception(error))


def _describe_failure(task: Task, failure: str, bug: str) -> Task:
    return {"number": task["number"], "images": 0, "payload": b"", FAILURE: failure, BUG: bug}
