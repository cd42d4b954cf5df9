"""Stored features of a frozen backbone."""

import numpy as np
import pytest
import torch

from icnet import checkpoint
from pipeline.train import features
from pipeline.train.augment import Augmentation
from pipeline.train.config import ModelConfig, TrainConfig
from pipeline.train.dataset import BatchLoader, open_memory_map
from pipeline.train.features import StoredFeatures
from pipeline.train.job import TrainError
from pipeline.train.sampler import BatchSlot
from pipeline.train.stage import train_model
from tests.helpers.trainings import NETWORK, OPTIONS, write_samples

VIT = {"backbone": "dinov2_vits14", "size": 56, "width": 1 / 6, "init": "he"}
HEAD = {"store_features": True, "sampling": "groups", "min_batch_size": 2, "loss": "combined", "siv_looks": 0.5}


@pytest.fixture
def stored(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "FILE_IMAGES", 4)
    return StoredFeatures(tmp_path / "features", [3, 1, 8, 5, 9, 20])


def test_features_are_read_by_row_and_only_missing_files_are_listed(stored):
    assert stored.list_missing() == [(0, [1, 3, 5, 8]), (1, [9, 20])]
    stored.write(0, np.arange(4 * 6, dtype=np.float16).reshape(4, 1, 2, 3))
    assert stored.list_missing() == [(1, [9, 20])]
    assert stored.read(5).tolist() == [[[12, 13, 14], [15, 16, 17]]]


def test_a_flipped_image_has_mirrored_features(make_job, tmp_path):
    job = make_job()
    samples, rows = open_memory_map(job.samples), [1, 2, 3]
    stored = StoredFeatures(tmp_path / "features", rows)
    stored.write(0, np.random.default_rng(0).random((3, 4, 4, 6)).astype(np.float16))
    flipped = BatchLoader(samples, 0, Augmentation(flip=1.0), features=stored).load_slot(
        BatchSlot(tuple(rows), 1, 0), 0
    )
    plain = BatchLoader(samples, 0, features=stored).load_slot(BatchSlot(tuple(rows), 1, 0), 0)
    assert torch.equal(flipped.images.flip(3), plain.images)
    assert [part.shape for part in plain.stored] == [(3, 2, 4, 4)] * 3
    for one, other in zip(flipped.stored, plain.stored, strict=True):
        assert torch.equal(one.flip(3), other)
    assert plain.stored[1][2, 0, 3, 1].item() == stored.read(3)[3, 1, 2]


def test_two_datasets_train_a_head_on_stored_features(tmp_path, ray_session, mlflow_here, capsys):
    both = {name: write_samples(tmp_path / name, VIT["size"]) for name in ("toys", "others")}
    config = TrainConfig(**OPTIONS | HEAD | {"dataset": list(both), "validation": ["toys/hexagon", "others/hexagon"]})
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
