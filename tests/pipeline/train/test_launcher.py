"""Where Ray Train runs a training, and from what a kill left."""

from pathlib import Path

import pytest
import torch
from ray.train import CheckpointConfig
from ray.train.v2._internal.execution.checkpoint.checkpoint_manager import CheckpointManager
from ray.train.v2._internal.execution.storage import StorageContext

from icnet import training
from icnet.training import Training
from pipeline.train.config import TrainConfig
from pipeline.train.job import TrainError
from pipeline.train.launcher import scaling_config
from pipeline.train.ray_compat import SNAPSHOT, repair_snapshot


def test_machines_that_are_not_there_are_an_error_at_once(ray_session):
    with pytest.raises(TrainError, match=r"3 GPUs are asked for .* the cluster has 0"):
        scaling_config(TrainConfig(use_gpu=True, num_workers=3))
    with pytest.raises(TrainError, match="1 GPUs are asked for"):
        scaling_config(TrainConfig(use_gpu=True))
    with pytest.raises(TrainError, match="99 are asked for, the cluster has"):
        scaling_config(TrainConfig(num_workers=99))
    with pytest.raises(TrainError, match="batch norm on GPUs only"):
        scaling_config(TrainConfig(batch_norm="sync"))
    scaling = scaling_config(TrainConfig())
    assert (scaling.num_workers, scaling.use_gpu) == (1, False)


def saved(folder, name, score):
    """A checkpoint as a rank saves it."""
    (folder / name).mkdir()
    model = torch.nn.Linear(1, 1)
    optimizer = training.make_optimizer(model)
    begun = Training(model, optimizer, training.make_schedule(optimizer), ema_decay=0.9)
    begun.save(folder / name, metrics={"epoch": 1, "score": score})


def test_a_list_of_checkpoints_that_a_kill_tore_is_written_anew(tmp_path):
    storage = StorageContext(tmp_path.parent, tmp_path.name)
    kept = CheckpointConfig(num_to_keep=1, checkpoint_score_attribute="score")
    for name, score in (("checkpoint_1", 0.7), ("checkpoint_2", 0.4), ("checkpoint_3", 0.6), ("checkpoint_4", 0.9)):
        saved(tmp_path, name, score)
    weights = tmp_path / "checkpoint_4" / training.EMA_FILE
    weights.write_bytes(weights.read_bytes()[:-1])
    (tmp_path / SNAPSHOT).write_text('{"ray_version": "2.6')
    repair_snapshot(tmp_path)
    listed = CheckpointManager(kept, storage)
    assert Path(listed.latest_checkpoint_result.checkpoint.path).name == "checkpoint_3"
    assert Path(listed.best_checkpoint_results[-1].checkpoint.path).name == "checkpoint_1"
    written = (tmp_path / SNAPSHOT).read_bytes()
    repair_snapshot(tmp_path)
    assert (tmp_path / SNAPSHOT).read_bytes() == written
