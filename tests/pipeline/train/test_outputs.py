"""When the outputs of a training are whole, so that it is not repeated."""

import json

import pytest

from pipeline.train.outputs import HISTORY, LAST, MODEL, RUN, find_finished, finish_outputs

BEST = {"epoch": 2.0, "val_max_f": 0.5}


@pytest.fixture
def target(tmp_path):
    for name in (MODEL, LAST, HISTORY):
        (tmp_path / name).write_bytes(name.encode())
    finish_outputs(tmp_path, {"fingerprint": "f", "run_id": "r"}, BEST)
    return tmp_path


def test_whole_outputs_of_the_same_training_are_found_with_its_run_and_best_epoch(target):
    found = find_finished(target, "f")
    assert (found["run_id"], found["best"]) == ("r", BEST)


def test_another_training_is_not_finished(target):
    assert find_finished(target, "another") is None


@pytest.mark.parametrize("name", [MODEL, LAST, HISTORY])
def test_a_file_that_was_changed_or_removed_makes_outputs_unfinished(target, name):
    (target / name).write_bytes(b"other")
    assert find_finished(target, "f") is None
    (target / name).unlink()
    assert find_finished(target, "f") is None


@pytest.mark.parametrize("content", ["", "[1]", json.dumps({"fingerprint": "f"})])
def test_a_torn_or_foreign_receipt_makes_outputs_unfinished(target, content):
    (target / RUN).write_text(content)
    assert find_finished(target, "f") is None
