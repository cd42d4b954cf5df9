"""Stored features of a frozen backbone."""

import json

import numpy as np
import pytest
import torch

from icnet import checkpoint
from pipeline import tables
from pipeline.train import feature_files
from pipeline.train.augment import Augmentation
from pipeline.train.config import ModelConfig, TrainConfig
from pipeline.train.dataset import BatchLoader, write_memory_map
from pipeline.train.feature_files import StoredFeatures
from pipeline.train.features import compute_missing_features
from pipeline.train.initial import build_initial_model
from pipeline.train.job import TrainError
from pipeline.train.pasting import is_pasting
from pipeline.train.sampler import BatchSlot
from pipeline.train.stage import train_model
from tests.helpers.trainings import NETWORK, OPTIONS, write_samples

VIT = {"backbone": "dinov2_vits14", "size": 56, "width": 1 / 6, "init": "he"}
HEAD = {"store_features": True, "sampling": "groups", "min_batch_size": 2, "loss": "combined", "siv_looks": 0.5}
PASTING = {"zooms": 1, "pasted_groups": 0.5, "distractors": 0.5}


@pytest.fixture
def stored(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_files, "FILE_IMAGES", 4)
    return StoredFeatures(tmp_path / "features", {"a": [3, 1], "b": [8, 5, 9, 20]})


def test_features_are_read_by_row_and_only_missing_files_are_listed(stored):
    assert stored.list_missing() == [(0, 0, [1, 3, 5, 8]), (1, 0, [9, 20])]
    stored.write(0, np.arange(4 * 6, dtype=np.float16).reshape(4, 1, 2, 3))
    assert stored.list_missing() == [(1, 0, [9, 20])]
    assert stored.read(5).tolist() == [[[12, 13, 14], [15, 16, 17]]]


def test_every_view_of_a_row_has_its_features_in_a_file_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_files, "FILE_IMAGES", 2)
    stored = StoredFeatures(tmp_path, {"a": [4, 7, 9]}, views=2)
    assert stored.list_missing() == [(0, 0, [4, 7]), (1, 1, [4, 7]), (2, 0, [9]), (3, 1, [9])]
    for number, view, rows in stored.list_missing():
        stored.write(number, np.array([[[[10 * row + view]]] for row in rows], np.float16))
    assert [stored.read(row, view).item() for row in (4, 7, 9) for view in (0, 1)] == [40, 41, 70, 71, 90, 91]


def test_zoomed_images_come_with_the_features_of_the_same_view(tmp_path):
    table = write_memory_map({"toys": write_samples(tmp_path / "toys", VIT["size"])}, tmp_path / "samples.arrow")
    model, rows = build_initial_model(TrainConfig(dataset="toys"), ModelConfig(**VIT)), (9, 12, 20)
    stored = StoredFeatures(tmp_path / "features", {"a": rows}, views=2)
    compute_missing_features(stored, model, BatchLoader(table, 3), torch.device("cpu"))
    loader = BatchLoader(table, 3, Augmentation(zooms=1), features=stored)
    batches = [loader.load_slot(BatchSlot(rows, 1, number), 0) for number in range(6)]
    for batch in batches:
        for one, other in zip(batch.stored, model.compute_stored(batch.images), strict=True):
            torch.testing.assert_close(one.float(), other.float(), atol=2e-3, rtol=2e-3)
    whole = loader.load_plain(rows).images
    zoomed = [not torch.equal(one, other) for batch in batches for one, other in zip(batch.images, whole, strict=True)]
    assert 3 < sum(zoomed) < 15


def test_pasted_objects_come_from_other_groups(samples, tmp_path):
    table = write_memory_map({"toys": samples}, tmp_path / "samples.arrow")
    names, rows = table["group"].to_pylist(), range(len(table))
    groups = {name: [row for row in rows if names[row] == name] for name in ("hexagon", "square", "triangle")}
    loader = BatchLoader(table, 0, Augmentation(distractors=0.5), groups=groups)
    others = [loader._load_other(np.random.default_rng(seed), groups["square"][0])[0] for seed in range(40)]
    known = {name: [loader._decode_view(row, 0)[0].tobytes() for row in members] for name, members in groups.items()}
    found = {name for one in others for name, images in known.items() if one.tobytes() in images}
    assert found == {"hexagon", "triangle"}
    slot = BatchSlot(tuple(groups["square"]), 1.0, 0)
    batch, again = loader.load_slot(slot, 1), loader.load_slot(slot, 1)
    assert torch.equal(batch.images, again.images) and torch.equal(batch.masks, again.masks)
    plain = loader.load_plain(slot.rows)
    assert not torch.equal(batch.images, plain.images)
    unpasted = loader.load_slot(slot, 1, pasting=False)
    assert torch.equal(unpasted.images, plain.images) and torch.equal(unpasted.masks, plain.masks)


def test_in_the_last_epochs_no_objects_are_pasted():
    config = TrainConfig(dataset="toys", epochs=5, unpasted_epochs=2)
    assert [is_pasting(config, epoch) for epoch in range(5)] == [True, True, True, False, False]


def test_pasting_with_one_group_is_refused(samples, tmp_path, mlflow_here):
    held = {"validation": ["alone", "hexagon", "triangle"], "distractors": 0.1}
    with pytest.raises(TrainError, match="need two groups"):
        train_model({"toys": samples}, tmp_path / "model", TrainConfig(**OPTIONS | held), ModelConfig(**NETWORK))


def test_a_flipped_image_has_mirrored_features(samples, tmp_path):
    table, rows = write_memory_map({"toys": samples}, tmp_path / "samples.arrow"), [1, 2, 3]
    stored = StoredFeatures(tmp_path / "features", {"a": rows})
    stored.write(0, np.random.default_rng(0).random((3, 4, 4, 6)).astype(np.float16))
    slot = BatchSlot(tuple(rows), 1, 0)
    flipped = BatchLoader(table, 0, Augmentation(flip=1.0), features=stored).load_slot(slot, 0)
    plain = BatchLoader(table, 0, features=stored).load_slot(slot, 0)
    assert torch.equal(flipped.images.flip(3), plain.images)
    assert [part.shape for part in plain.stored] == [(3, 2, 4, 4)] * 3
    for one, other in zip(flipped.stored, plain.stored, strict=True):
        assert torch.equal(one.flip(3), other)
    assert plain.stored[1][2, 0, 3, 1].item() == stored.read(3)[3, 1, 2]


def test_stored_features_are_those_of_the_network_and_a_stage_goes_on_after_the_last_whole_file(stored, tmp_path):
    table = write_memory_map({"toys": write_samples(tmp_path / "toys", VIT["size"])}, tmp_path / "samples.arrow")
    model, loader = build_initial_model(TrainConfig(dataset="toys"), ModelConfig(**VIT)), BatchLoader(table, 0)
    grid = VIT["size"] // 14
    known = np.zeros((4, grid, grid, 3 * model.backbone.channels[0]), np.float16)
    stored.write(0, known)  # a killed stage had written it
    compute_missing_features(stored, model, loader, torch.device("cpu"))
    assert not stored.list_missing()
    assert all((stored.read(row) == 0).all() for row in (1, 3, 5, 8))
    expected = model.compute_stored(loader.load_plain([9, 20]).images)
    for place, row in enumerate((9, 20)):
        for depth, part in enumerate(np.split(stored.read(row), 3, axis=2)):
            np.testing.assert_allclose(part.transpose(2, 0, 1), expected[depth][place].numpy(), atol=2e-3)


def test_two_datasets_train_a_head_on_stored_features(tmp_path, ray_session, mlflow_here, capsys):
    both = {name: write_samples(tmp_path / name, VIT["size"]) for name in ("toys", "others")}
    config = TrainConfig(
        **OPTIONS | HEAD | PASTING | {"dataset": list(both), "validation": ["toys/hexagon", "others/hexagon"]}
    )
    train_model(both, tmp_path / "data" / "model", config, ModelConfig(**VIT))
    printed = capsys.readouterr().out
    assert "of 6 groups on 1 CPU worker" in printed and "of 2 groups" in printed
    assert "others/alone" in printed and "toys/alone" in printed
    assert checkpoint.load(tmp_path / "data" / "model" / "model.safetensors").config.backbone == "dinov2_vits14"
    assert not list((tmp_path / "data" / "work").rglob("*.npy"))


def test_a_backbone_that_is_trained_has_no_stored_features(samples, tmp_path, ray_session, mlflow_here):
    config = TrainConfig(**OPTIONS | {"store_features": True})
    with pytest.raises(TrainError, match="store_features: training changes the features of vgg16"):
        train_model({"toys": samples}, tmp_path / "model", config, ModelConfig(**NETWORK))


def test_samples_of_another_size_are_refused_with_what_to_run(tmp_path):
    table = write_samples(tmp_path / "toys")
    manifest = table / tables.MANIFEST_FILE
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "size": 64}))
    with pytest.raises(
        TrainError, match=r"samples of toys are 64 px, but model\.size is 32: run `dvc repro sism@toys`"
    ):
        train_model({"toys": table}, tmp_path / "model", TrainConfig(**OPTIONS), ModelConfig(**NETWORK))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"min_batch_size": 4}, "min_batch_size needs sampling: groups"),
        ({"epochs": 3, "unpasted_epochs": 3}, "unpasted_epochs 3 must be below epochs 3"),
        ({"sampling": "groups", "min_batch_size": 11}, "min_batch_size 11 is above batch_size 10"),
        ({"siv_masks": 0.6, "siv_looks": 0.6}, "siv_masks and siv_looks"),
        ({"store_features": True, "crop": 0.1}, "store_features needs crop 0"),
        ({"dataset": ["a", "a"]}, "different names"),
        ({"dataset": []}, "different names"),
    ],
)
def test_options_that_exclude_each_other_are_named(options, error):
    with pytest.raises(ValueError, match=error):
        TrainConfig(**options)
