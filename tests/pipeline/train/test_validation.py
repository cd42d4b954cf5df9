"""Validation of groups that do not fit in memory, and how many of them have pictures."""

import numpy as np
import pytest

from icnet import checkpoint, training
from icnet.training import Training
from pipeline import tables
from pipeline.train import validation
from pipeline.train.dataset import BatchLoader, open_memory_map
from pipeline.train.validation import Validation


@pytest.fixture
def trained(make_job):
    job = make_job()
    model = checkpoint.load(job.initial)
    optimizer = training.make_optimizer(model)
    return job, Training(model, optimizer, training.make_schedule(optimizer))


def group_rows(samples):
    names = tables.read_table(samples, ["group"])["group"].to_pylist()
    return {name: [row for row, group in enumerate(names) if group == name] for name in sorted(set(names))}


def test_groups_in_pieces_have_the_scores_and_pictures_of_whole_groups(trained, samples, monkeypatch):
    job, state = trained
    loader, groups = BatchLoader(open_memory_map(job.samples), 0), group_rows(samples)
    found = Validation(groups, loader, 1, 0, 2, num_panels=99)
    whole, pictures = found.score(state), list(found.draw_panels(state))
    monkeypatch.setattr(validation, "MAX_IMAGES", 3)
    assert max(map(len, groups.values())) > 3
    assert found.score(state) == pytest.approx(whole, abs=1e-3)
    for (group, one), (other, two) in zip(pictures, found.draw_panels(state), strict=True):
        assert group == other and one.shape == two.shape
        assert np.abs(one.astype(int) - two).mean() < 0.5


def test_as_many_groups_have_pictures_as_asked_for_over_all_ranks(trained, samples):
    job, state = trained
    loader, groups = BatchLoader(open_memory_map(job.samples), 0), group_rows(samples)
    for count in (0, 2, 99):
        shown = [
            group for rank in (0, 1) for group, _ in Validation(groups, loader, 2, rank, 1, count).draw_panels(state)
        ]
        assert len(set(shown)) == len(shown) == min(count, len(groups))
