"""The MLflow run of a training: opened, continued after an interruption, and finished."""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pipeline import tracking
from pipeline.runtime import files
from pipeline.train.config import ModelConfig, TrainConfig
from pipeline.train.identity import Identity
from pipeline.train.job import TrainError
from pipeline.train.outputs import HISTORY
from pipeline.train.recorder import Recorder
from pipeline.train.reports import EPOCH_LOSS, STEP_LOSS
from pipeline.train.split import Split

MAX_WAIT = 45.0
"""Seconds after which no further attempt to reach MLflow begins, at the start and at the end of a training."""

RETRY_PAUSE = 3.0
"""Seconds between attempts."""

REQUEST_LIMITS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "15"}
"""MLflow's own defaults retry a single request for four minutes."""

MOST_OPTIONS = 4
"""Options in the name of a run."""

RUN_FILE, PARAMS_FILE = "mlflow.json", "params.json"

Result = TypeVar("Result")


@contextmanager
def open_recorder(
    config: TrainConfig,
    network: ModelConfig,
    split: Split,
    samples: Mapping[str, Path],
    identity: Identity,
    folder: Path,
) -> Iterator[Recorder]:
    """The recorder of the training's one run, a new one or that of the interrupted training in `folder`.

    Raises TrainError where MLflow does not answer within MAX_WAIT.
    """
    chosen = {"train": config, "model": network}
    files.write_json(folder / PARAMS_FILE, {name: part.model_dump() for name, part in chosen.items()})
    options = {name: part.model_dump(exclude_defaults=True) for name, part in chosen.items()}
    file = folder / RUN_FILE

    def enter(stack: ExitStack) -> Recorder:
        known = json.loads(file.read_text()) if file.is_file() else {}
        described = known.get("described", False)
        opened = tracking.start_run(
            name_run(samples, options, identity.fingerprint),
            params=None if described else options,
            tags={"fingerprint": identity.fingerprint},
            datasets=() if described else _describe_data(split, samples, identity),
            resume=known.get("run_id"),
            system_metrics=True,
            created=lambda run: files.write_json(file, {"run_id": run.id}),
        )
        with ExitStack() as attempt:  # what fails is closed before the next attempt
            run = attempt.enter_context(opened)
            files.write_json(file, {"run_id": run.id, "described": True})
            run.log_file(folder / PARAMS_FILE)
            recorder = Recorder(run, config.epochs, run.find_last_step(STEP_LOSS), run.find_last_step(EPOCH_LOSS))
            stack.enter_context(attempt.pop_all())
        return recorder

    with _limit_requests(), ExitStack() as stack:
        try:
            recorder = _retry(lambda: enter(stack))
        except Exception as error:
            raise TrainError(
                f"MLflow at {tracking.find_server()} does not answer ({error}): training has not begun;"
                " start the server, or unset MLFLOW_TRACKING_URI to log into mlflow.db"
            ) from error
        yield recorder


def name_run(samples: Iterable[str], options: Mapping[str, Mapping[str, Any]], fingerprint: str) -> str:
    """A name that says what differs from the defaults: samples, the first options, and the start of the fingerprint."""
    flat = [f"{name}={value}" for part in options.values() for name, value in part.items() if name != "dataset"]
    more = ["..."] if len(flat) > MOST_OPTIONS else []
    return " ".join([", ".join(samples), *flat[:MOST_OPTIONS], *more, fingerprint[:8]])


def finish_run(recorder: Recorder, best: dict[str, float], target: Path) -> None:
    """Log what waits, the best epoch and the history. Raises TrainError where MLflow is silent for MAX_WAIT."""

    def finish() -> None:
        recorder.flush()
        recorder.run.set_tags({"best_epoch": int(best["epoch"])})
        recorder.run.log_file(target / HISTORY)

    try:
        _retry(finish)
    except Exception as error:
        raise TrainError(
            f"all epochs are trained and saved, but MLflow at {recorder.run.server} does not take the rest of the run"
            f" ({error}); run again when it answers: only that is left to do"
        ) from error


def _describe_data(split: Split, samples: Mapping[str, Path], identity: Identity) -> list[tracking.DataSource]:
    """The images of training and of validation as dataset inputs of a run."""
    name, source = ", ".join(samples), ", ".join(map(str, samples.values()))
    return [
        tracking.DataSource(name, source, identity.samples, use, sum(map(len, groups.values())), len(groups))
        for use, groups in (("training", split.train), ("validation", split.validation))
    ]


def _retry(action: Callable[[], Result]) -> Result:
    """The result of an action that is repeated while it fails, until MAX_WAIT; then its exception."""
    deadline = time.monotonic() + MAX_WAIT
    while True:
        try:
            return action()
        except Exception:
            if time.monotonic() + RETRY_PAUSE > deadline:
                raise
            time.sleep(RETRY_PAUSE)


@contextmanager
def _limit_requests() -> Iterator[None]:
    """Let MLflow's requests fail early: the recorder and `_retry` repeat them."""
    changed = {name: value for name, value in REQUEST_LIMITS.items() if name not in os.environ}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name in changed:
            os.environ.pop(name, None)
