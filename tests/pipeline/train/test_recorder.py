"""What a training reports while it runs."""

import time

import pytest

from pipeline import tracking
from pipeline.train import mlflow_run, recorder
from pipeline.train.config import ModelConfig, TrainConfig
from pipeline.train.identity import Identity
from pipeline.train.job import TrainError
from pipeline.train.recorder import Recorder
from pipeline.train.reports import Divergence, Epoch, Steps, format_epoch
from pipeline.train.split import Split
from tests.helpers.logged import curve


def row(epoch):
    return {"epoch": epoch, "train_loss": 1 / epoch, "images_per_s": 2.0, "seconds": 60.0}


def test_reports_that_a_resumed_training_repeats_are_logged_once(mlflow_here, capsys):
    with tracking.start_run("toys") as run:
        first = Recorder(run, epochs=3)
        first.take(Steps(1, [0.9, 0.8], 1, 2, 2))
        first.take(Epoch(row(1)))
        assert (run.find_last_step("train/step_loss"), run.find_last_step("train/loss")) == (2, 1)
        again = Recorder(run, 3, run.find_last_step("train/step_loss"), run.find_last_step("train/loss"))
        again.take(Steps(1, [0.9, 0.8, 0.7]))
        again.take(Epoch(row(1)))
        again.take(Epoch(row(2)))
    assert curve(mlflow_here, run.id, "train/step_loss") == {1: 0.9, 2: 0.8, 3: 0.7}
    assert curve(mlflow_here, run.id, "train/loss") == {1: 1.0, 2: 0.5}
    assert capsys.readouterr().out.count("epoch 1/3") == 1


class Unreachable:
    """A run whose server does not answer; `attempts` counts requests."""

    server = "http://nowhere"

    def __init__(self):
        self.attempts = 0

    def fail(self, *_, **__):
        self.attempts += 1
        raise ConnectionError("no answer")

    log_metrics = log_curves = log_image = set_tags = log_file = fail


def test_while_mlflow_is_away_reports_wait_and_there_are_few_attempts(mlflow_here, capsys):
    with tracking.start_run("toys") as run:
        reports = Recorder(absent := Unreachable(), epochs=3)
        for step in range(1, 41):
            reports.take(Steps(step, [step / 100], 1, step, 40))
        reports.take(Epoch(row(1)))
        reports.take(Steps(1, [0.01, 0.02]))  # a worker that starts again repeats what was reported
        said = capsys.readouterr()
        assert absent.attempts == 1
        assert said.err.count("training continues") == 1
        assert "epoch 1/3" in said.out
        reports.next_attempt = 0.0
        reports.take(Steps(41, [0.41]))
        assert absent.attempts == 2
        assert reports.pause == 2 * recorder.FIRST_PAUSE
        reports.run, reports.next_attempt = run, 0.0
        reports.take(Epoch(row(2)))
        assert "answers again" in capsys.readouterr().err
    assert list(curve(mlflow_here, run.id, "train/loss")) == [1, 2]
    steps = curve(mlflow_here, run.id, "train/step_loss")
    assert steps == {step: step / 100 for step in range(1, 42)}


def test_the_end_waits_for_mlflow_for_a_limited_time_and_says_what_is_left(monkeypatch, tmp_path):
    monkeypatch.setattr(mlflow_run, "MAX_WAIT", 0.5)
    monkeypatch.setattr(mlflow_run, "RETRY_PAUSE", 0.1)
    reports = Recorder(absent := Unreachable(), epochs=1)
    reports.take(Epoch(row(1)))
    with pytest.raises(TrainError, match=r"all epochs are trained and saved.*only that is left to do"):
        mlflow_run.finish_run(reports, row(1), tmp_path)
    assert absent.attempts > 2
    reports.take(Epoch(row(1)))


def test_a_training_without_its_mlflow_server_does_not_begin(monkeypatch, tmp_path):
    monkeypatch.setattr(mlflow_run, "MAX_WAIT", 0.5)
    monkeypatch.setattr(mlflow_run, "RETRY_PAUSE", 0.1)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    split, known = Split({}, {}, [], []), Identity(1, "o", None, "s", "c")
    began = time.monotonic()
    with (
        pytest.raises(TrainError, match=r"127\.0\.0\.1:9 does not answer .*training has not begun"),
        mlflow_run.open_recorder(TrainConfig(), ModelConfig(), split, {"toys": tmp_path}, known, tmp_path),
    ):
        raise AssertionError("there is no server")
    assert time.monotonic() - began < 120  # MLflow's own limit is minutes for each request


def test_a_divergence_is_kept_for_the_stage():
    reports = Recorder(Unreachable(), epochs=1)
    reports.take(Divergence("the loss is not finite"))
    assert reports.divergence == "the loss is not finite"


def test_an_epoch_reads_as_one_line():
    scored = {"val_loss": 0.5, "val_max_f": 0.71234, "val_s": 0.7, "val_mae": 0.1}
    expected = "epoch 2/60  loss 0.5000  val loss 0.5000 max F 0.712 S 0.700 MAE 0.100  2.0 images/s  58:00 to go"
    assert format_epoch(row(2) | scored, 60) == expected
    assert format_epoch(row(60), 60) == "epoch 60/60  loss 0.0167  2.0 images/s"


def test_a_long_epoch_prints_a_line_with_the_time_left(monkeypatch, capsys):
    monkeypatch.setattr(recorder, "SECONDS_BETWEEN_LINES", 0.0)
    reports = Recorder(Unreachable(), epochs=3)
    reports.take(Steps(1, [0.9], 2, 10, 40))
    reports.first_report = (reports.first_report[0] - 20.0, reports.first_report[1])  # half a minute of work ago
    reports.take(Steps(2, [0.8], 2, 20, 40))
    assert capsys.readouterr().out == "train: epoch 2/3  batch 20 of 40  loss 0.8000  2:00 to go\n"
