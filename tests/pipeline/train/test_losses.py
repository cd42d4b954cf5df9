"""The file of step losses."""

from pipeline.train.losses import LossFile


def test_losses_after_the_last_checkpoint_are_dropped_when_a_training_continues(tmp_path):
    first = LossFile(tmp_path / "losses")
    first.append([0.5, 0.25])
    first.append([0.125])
    first.sync()
    assert first.count == 3
    assert LossFile(tmp_path / "losses", 2).read() == [0.5, 0.25]
    again = LossFile(tmp_path / "losses", 2)
    again.append([0.75])
    assert again.read() == [0.5, 0.25, 0.75]


def test_a_half_written_loss_is_dropped(tmp_path):
    LossFile(tmp_path / "losses").append([0.5, 0.25])
    with (tmp_path / "losses").open("ab") as handle:
        handle.write(b"abc")
    assert LossFile(tmp_path / "losses", 2).read() == [0.5, 0.25]
