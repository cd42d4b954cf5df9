"""Two ranks keep equal models, and validate the model that is saved."""

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from icnet import checkpoint, training
from icnet.training import EpochLayout, Training
from pipeline import tables
from pipeline.train.dataset import BatchLoader, open_memory_map
from pipeline.train.sampler import assign_to_rank, plan_epoch
from pipeline.train.validation import Validation

HELD = ("hexagon", "square")


def make_training(job, layout, wrap):
    model = checkpoint.load(job.initial)
    optimizer = training.make_optimizer(model, lr=1e-2)
    schedule = training.make_schedule(optimizer)
    return Training(model, optimizer, schedule, wrap(model), ema_decay=0.5, layout=layout)


def train_rank(rank, job, groups, folder):
    """Three steps on one of two ranks, then validation; everything is saved."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/ranks", rank=rank, world_size=2)
    planned = plan_epoch({name: groups[name] for name in ("triangle", "square")}, 4, 0, 0)
    loader = BatchLoader(open_memory_map(job.samples), 0)
    trained = make_training(
        job, EpochLayout(len(planned), 2), lambda model: DistributedDataParallel(model, broadcast_buffers=False)
    )
    for slots in assign_to_rank(planned, 2, rank)[:3]:
        trained.step([loader.load_slot(slot, 0) for slot in slots])
    (folder / f"{rank}").mkdir()
    trained.save(folder / f"{rank}")
    scores = Validation({name: groups[name] for name in HELD}, loader, 2, rank, 1, 0).score(trained)
    torch.save(scores, folder / f"scores-{rank}")
    dist.destroy_process_group()


@pytest.mark.timeout(900)
def test_two_ranks_have_equal_buffers_and_averages_and_score_the_saved_model(make_job, samples, tmp_path):
    job = make_job()
    names = tables.read_table(samples, ["group"])["group"].to_pylist()
    groups = {name: [row for row, group in enumerate(names) if group == name] for name in set(names)}
    torch.multiprocessing.spawn(train_rank, (job, groups, tmp_path), nprocs=2)
    for file in (training.MODEL_FILE, training.EMA_FILE):
        assert (tmp_path / "0" / file).read_bytes() == (tmp_path / "1" / file).read_bytes()
    alone = make_training(job, EpochLayout(), lambda model: model)
    alone.load(tmp_path / "0")
    loader = BatchLoader(open_memory_map(job.samples), 0)
    expected = Validation({name: groups[name] for name in HELD}, loader, 1, 0, 1, 0).score(alone)
    for rank in (0, 1):
        assert torch.load(tmp_path / f"scores-{rank}", weights_only=False) == pytest.approx(expected, abs=1e-5)
