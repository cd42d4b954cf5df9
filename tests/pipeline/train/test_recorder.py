"""What a training reports while it runs."""

import pytest

from pipeline import tracking
from pipeline.train.recorder import Recorder
from pipeline.train.reports import Epoch, Steps, format_epoch
from tests.helpers.logged import curve


def row(epoch):
    return {"epoch": epoch, "train_loss": 1 / epoch, "images_per_s": 2.0, "seconds": 60.0}


def test_reports_that_a_resumed_training_repeats_are_logged_once(mlflow_here, capsys):
    with tracking.start_run("toys") as run:
        recorder = Recorder(run, epochs=3)
        recorder.take(Steps({1: 0.9, 2: 0.8}, 1, 2, 2))
        recorder.take(Epoch(row(1)))
        assert (run.find_last_step("train/step_loss"), run.find_last_step("train/loss")) == (2, 1)
        again = Recorder(run, 3, run.find_last_step("train/step_loss"), run.find_last_step("train/loss"))
        again.take(Steps({1: 0.9, 2: 0.8, 3: 0.7}))
        again.take(Epoch(row(1)))
        again.take(Epoch(row(2)))
    assert curve(mlflow_here, run.id, "train/step_loss") == {1: 0.9, 2: 0.8, 3: 0.7}
    assert curve(mlflow_here, run.id, "train/loss") == {1: 1.0, 2: 0.5}
    assert capsys.readouterr().out.count("epoch 1/3") == 1


class Deaf:
    """A run whose server does not answer."""

    def log_metrics(self, values, step):
        raise ConnectionError("no answer")


def test_reports_wait_while_the_tracking_server_is_away(mlflow_here, capsys):
    with tracking.start_run("toys") as run:
        recorder = Recorder(Deaf(), epochs=3)
        recorder.take(Epoch(row(1)))
        assert "training goes on" in capsys.readouterr().err
        with pytest.raises(ConnectionError):
            recorder.flush(patient=False)
        recorder.run = run
        recorder.take(Epoch(row(2)))
    assert list(curve(mlflow_here, run.id, "train/loss")) == [1, 2]


def test_an_epoch_reads_as_one_line():
    scored = {"val_loss": 0.5, "val_max_f": 0.71234, "val_s": 0.7, "val_mae": 0.1}
    expected = "epoch 2/60  loss 0.5000  val loss 0.5000 max F 0.712 S 0.700 MAE 0.100  2.0 images/s  58:00 to go"
    assert format_epoch(row(2) | scored, 60) == expected
    assert format_epoch(row(60), 60) == "epoch 60/60  loss 0.0167  2.0 images/s"
