"""A small samples table, and the job of a small training."""

import pytest

from icnet import checkpoint
from pipeline.train.config import ModelConfig, TrainConfig
from pipeline.train.dataset import write_memory_map
from pipeline.train.initial import build_initial_model
from pipeline.train.job import Job
from pipeline.train.split import split_groups
from tests.helpers.trainings import NETWORK, OPTIONS, write_samples


@pytest.fixture(scope="session")
def samples(tmp_path_factory):
    """A finished samples table."""
    return write_samples(tmp_path_factory.mktemp("toys") / "samples")


@pytest.fixture
def make_job(samples, tmp_path):
    """A function that writes the first weights and gives the job of a training without a driver."""

    def make(**changes):
        config, stored, initial = TrainConfig(**OPTIONS | changes), tmp_path / "samples.arrow", tmp_path / "first"
        split = split_groups(write_memory_map({"toys": samples}, stored), config.validation, config.seed)
        checkpoint.save(build_initial_model(config, ModelConfig(**NETWORK)), initial)
        return Job(config, split, str(stored), str(initial), str(tmp_path / "losses"), queue=None)

    return make
