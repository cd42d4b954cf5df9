"""What begins a new training, what does not, and what is removed of trainings that cannot continue."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import icnet
import pipeline
from pipeline.train.config import ModelConfig, TrainConfig
from pipeline.train.identity import Identity, digest_code, identify_training, list_model_code
from pipeline.train.job import TrainError
from pipeline.train.workspace import Workspace
from tests.helpers.trainings import NETWORK, OPTIONS

KNOWN = Identity(version=1, options="o", weights=None, samples="s", code="c")


def test_options_weights_and_samples_that_may_change_the_model_make_another_training(samples, tmp_path):
    config, network = TrainConfig(**OPTIONS), ModelConfig(**NETWORK)
    name = identify_training({"toys": samples}, config, network).fingerprint
    same = config.model_copy(update={"prefetch_threads": 3, "max_failures": 0, "panels_every": 2})
    assert name == identify_training({"toys": samples}, same, network).fingerprint
    for changes in ({"lr": 2e-3}, {"num_workers": 2}, {"decay_all": False}):
        assert name != identify_training({"toys": samples}, config.model_copy(update=changes), network).fingerprint
    assert name != identify_training({"toys": samples}, config, ModelConfig(**NETWORK | {"width": 0.1})).fingerprint
    (tmp_path / "weights").write_bytes(b"1")
    weighted = network.model_copy(update={"weights": str(tmp_path / "weights")})
    first = identify_training({"toys": samples}, config, weighted).fingerprint
    (tmp_path / "weights").write_bytes(b"2")
    assert len({name, first, identify_training({"toys": samples}, config, weighted).fingerprint}) == 3
    with pytest.raises(TrainError, match=r"model\.weights: there is no file nowhere"):
        identify_training({"toys": samples}, config, network.model_copy(update={"weights": "nowhere"}))


@pytest.mark.parametrize("file", ["sism_noise", "sampler", "augment", "validation", "worker", "split", "dataset"])
def test_an_edit_of_code_that_can_change_the_model_begins_a_new_training(tmp_path, file):
    assert edit(tmp_path, "train", f"train/{file}.py") is True


@pytest.mark.parametrize("file", ["icnet/cosaliency.py", "icnet/loss.py", "icnet/training/optim.py"])
def test_an_edit_of_the_network_begins_a_new_training(tmp_path, file):
    assert edit(tmp_path, "icnet", file) is True


@pytest.mark.parametrize(
    "file", ["train/recorder.py", "train/reports.py", "train/stage.py", "icnet/sod/u2net.py", "icnet/onnx_export.py"]
)
def test_an_edit_of_what_no_training_uses_does_not(tmp_path, file):
    assert edit(tmp_path, file.split("/")[0], file) is False


def test_the_scores_that_choose_the_epoch_are_part_of_that_code():
    names = [file.name for file in list_model_code() if file.parent.name == "metrics"]
    assert names == ["pysod.py", "score.py"]


def test_pictures_are_no_part_of_the_code_that_can_change_the_model():
    package = Path(pipeline.__file__).parent / "pictures"
    assert package.is_dir()
    assert not [file for file in list_model_code() if package in file.parents]


def edit(folder, copied, file):
    """Whether adding a line to a copy of the code changes its digest."""
    sources = {"train": Path(pipeline.__file__).parent / "train", "icnet": Path(icnet.__file__).parent}
    shutil.copytree(sources[copied], folder / copied)
    places = {name: folder / name if name == copied else source for name, source in sources.items()}
    before = digest_code(list_model_code(places["train"], places["icnet"]))
    assert before == digest_code(list_model_code(*sources.values()))
    with (folder / file).open("a") as handle:
        handle.write("\n# edited\n")
    return before != digest_code(list_model_code(places["train"], places["icnet"]))


def begin(root, identity):
    """The workspace of a training that was interrupted."""
    workspace = Workspace(root, identity)
    with workspace.open():
        workspace.memory_map.parent.mkdir(exist_ok=True)
        workspace.memory_map.touch()
    return workspace


def test_an_unfinished_training_of_other_code_is_recognized_and_one_of_other_options_is_not(tmp_path):
    begin(tmp_path, replace(KNOWN, options="others"))
    assert not Workspace(tmp_path, KNOWN).has_other_code()
    begin(tmp_path, replace(KNOWN, code="older"))
    assert Workspace(tmp_path, KNOWN).has_other_code()


def test_a_folder_of_an_older_version_counts_as_other_code(tmp_path):
    (tmp_path / "0123").mkdir()
    assert Workspace(tmp_path, KNOWN).has_other_code()


def test_the_end_of_a_training_removes_what_no_training_can_use_again(tmp_path):
    ended = begin(tmp_path, KNOWN)
    other = begin(tmp_path, replace(KNOWN, options="others", samples="t"))
    stale = begin(tmp_path, replace(KNOWN, code="older", samples="u"))
    running = Workspace(tmp_path, replace(KNOWN, code="older", samples="v"))
    with running.open():
        running.memory_map.touch()
        (running.memory_map.parent / ".0123.part").touch()  # perhaps the other training is writing it
        ended.remove()
        assert running.folder.is_dir()
    assert not ended.folder.exists()
    assert not stale.folder.exists()
    assert other.folder.is_dir()
    assert sorted(file.name for file in ended.memory_map.parent.iterdir()) == [".0123.part", "t.arrow", "v.arrow"]


def test_trainings_on_the_same_samples_share_their_memory_map(tmp_path):
    assert Workspace(tmp_path, KNOWN).memory_map == Workspace(tmp_path, replace(KNOWN, options="x")).memory_map
    assert Workspace(tmp_path, KNOWN).memory_map != Workspace(tmp_path, replace(KNOWN, samples="x")).memory_map


def test_a_training_that_another_process_runs_is_refused(tmp_path):
    workspace = Workspace(tmp_path, KNOWN)
    with workspace.open(), pytest.raises(TrainError, match="already running"), Workspace(tmp_path, KNOWN).open():
        raise AssertionError("two processes have the same training")
