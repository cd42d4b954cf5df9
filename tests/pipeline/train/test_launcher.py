"""Where Ray Train runs a training, and from which checkpoint it continues."""

import shutil
from pathlib import Path

import pytest
import ray.train
from ray.train import CheckpointConfig
from ray.train.v2._internal.execution.checkpoint.checkpoint_manager import CheckpointManager
from ray.train.v2._internal.execution.storage import StorageContext

from icnet import training
from pipeline.train.config import TrainConfig
from pipeline.train.job import TrainError
from pipeline.train.launcher import run_training, scaling_config
from pipeline.train.ray_compat import SNAPSHOT, repair_snapshot


def test_machines_that_are_not_there_are_an_error_at_once(ray_session):
    with pytest.raises(TrainError, match=r"3 GPUs are needed .* the cluster has 0"):
        scaling_config(TrainConfig(use_gpu=True, num_workers=3))
    with pytest.raises(TrainError, match="1 GPUs are needed"):
        scaling_config(TrainConfig(use_gpu=True))
    with pytest.raises(TrainError, match="99 are needed, the cluster has"):
        scaling_config(TrainConfig(num_workers=99))
    with pytest.raises(TrainError, match="batch norm on GPUs only"):
        scaling_config(TrainConfig(batch_norm="sync"))
    scaling = scaling_config(TrainConfig())
    assert (scaling.num_workers, scaling.use_gpu) == (1, False)


@pytest.mark.slow
def test_a_damaged_list_of_checkpoints_is_written_anew_from_the_whole_ones(make_job, tmp_path, ray_session):
    """The checkpoints are those that a real worker saves."""
    folder = tmp_path / "training"
    run_training(make_job(epochs=3, checkpoint_steps=2), ray.train.ScalingConfig(num_workers=1), folder)
    storage = StorageContext(str(tmp_path), folder.name)
    kept = CheckpointConfig(num_to_keep=1, checkpoint_score_attribute="score")

    def read_names():
        listed = CheckpointManager(kept, storage)
        best, last = listed.best_checkpoint_results[-1], listed.latest_checkpoint_result
        return Path(best.checkpoint.path).name, Path(last.checkpoint.path).name

    before, snapshot = read_names(), folder / SNAPSHOT
    content = snapshot.read_text()
    repair_snapshot(folder)
    assert snapshot.read_text() == content
    snapshot.write_text(content[: len(content) // 2])
    repair_snapshot(folder)
    assert read_names() == before

    newest = max(place for place in folder.glob("checkpoint_*") if place.is_dir())
    older = newest.rename(newest.with_name("checkpoint_0"))
    for name in ("checkpoint_1", "checkpoint_2"):
        shutil.copytree(older, folder / name)
    weights = folder / "checkpoint_2" / training.MODEL_FILE
    weights.write_bytes(weights.read_bytes()[:-1])
    snapshot.write_text("{")
    repair_snapshot(folder)
    assert read_names()[1] == "checkpoint_1"
    for state in folder.glob("checkpoint_*/*"):
        state.unlink()
    snapshot.write_text("{")
    repair_snapshot(folder)
    assert not snapshot.exists()
