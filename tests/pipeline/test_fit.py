"""Where Ray Train runs a training, and from what a kill left."""

from pathlib import Path

import pytest
import torch
from ray.train import CheckpointConfig
from ray.train.v2._internal.execution.checkpoint.checkpoint_manager import CheckpointManager
from ray.train.v2._internal.execution.storage import StorageContext

from icnet import training
from icnet.training import Training
from pipeline.fit import SNAPSHOT, TrainError, machines, mend
from pipeline.train import Params


def test_machines_that_are_not_there_are_an_error_at_once(ray_session):
    with pytest.raises(TrainError, match=r"3 GPUs are asked for .* the cluster has 0"):
        machines(Params(gpus=True, workers=3))
    with pytest.raises(TrainError, match="1 GPUs are asked for"):
        machines(Params(gpus=True))
    with pytest.raises(TrainError, match="99 are asked for, the cluster has"):
        machines(Params(workers=99))
    with pytest.raises(TrainError, match="batch norm on GPUs only"):
        machines(Params(batch_norm="sync"))
    scaling = machines(Params())
    assert (scaling.num_workers, scaling.use_gpu) == (1, False)


def saved(folder, name, score):
    """A checkpoint as a rank saves it."""
    (folder / name).mkdir()
    model = torch.nn.Linear(1, 1)
    optimiser = training.optimiser(model)
    begun = Training(model, optimiser, training.schedule(optimiser), ema=0.9)
    begun.save(folder / name, metrics={"epoch": 1, "score": score})


def test_a_list_of_checkpoints_that_a_kill_tore_is_written_anew(tmp_path):
    storage = StorageContext(tmp_path.parent, tmp_path.name)
    kept = CheckpointConfig(num_to_keep=1, checkpoint_score_attribute="score")
    for name, score in (("checkpoint_1", 0.7), ("checkpoint_2", 0.4), ("checkpoint_3", 0.6), ("checkpoint_4", 0.9)):
        saved(tmp_path, name, score)
    weights = tmp_path / "checkpoint_4" / training.AVERAGED
    weights.write_bytes(weights.read_bytes()[:-1])
    (tmp_path / SNAPSHOT).write_text('{"ray_version": "2.6')
    mend(tmp_path)
    listed = CheckpointManager(kept, storage)
    assert Path(listed.latest_checkpoint_result.checkpoint.path).name == "checkpoint_3"
    assert Path(listed.best_checkpoint_results[-1].checkpoint.path).name == "checkpoint_1"
    written = (tmp_path / SNAPSHOT).read_bytes()
    mend(tmp_path)
    assert (tmp_path / SNAPSHOT).read_bytes() == written
