"""Stage train with real Ray Train and MLflow, on a small network and small pictures."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pytest
import ray.train
import torch
import yaml
from mlflow.tracking import MlflowClient
from PIL import Image, ImageDraw
from ray.train.torch import TorchTrainer

from icnet import checkpoint, images, training, whitening
from icnet.training import Training
from pipeline import tables, tracking
from pipeline.runtime.params import ParamsError, parse_section
from pipeline.train.augment import Augmentation
from pipeline.train.config import ModelConfig, TrainConfig
from pipeline.train.dataset import BatchLoader, load_examples, open_memory_map, write_memory_map
from pipeline.train.initial import build_initial_model, fingerprint_training
from pipeline.train.job import Job, TrainError
from pipeline.train.sampler import assign_to_rank, plan_epoch
from pipeline.train.split import split_groups
from pipeline.train.stage import train_model
from pipeline.train.worker import Worker
from tests.helpers.logged import curve

SIDE = 32
KNOBS = {"dataset": "toys", "epochs": 2, "batch_size": 4, "lr": 1e-3, "use_gpu": False, "validation": ["hexagon"]}
NETWORK = {"size": SIDE, "width": 0.05, "init": "he"}


def sample(group, number, sides):
    """A polygon of `sides` corners on noise; its SISM is the mask, rough."""
    draw = np.random.default_rng([sides, number])
    mask = Image.new("L", (SIDE, SIDE))
    x, y = draw.integers(10, 22, 2).tolist()
    ImageDraw.Draw(mask).regular_polygon((x, y, 8), sides, rotation=int(draw.integers(360)), fill=255)
    inside = np.asarray(mask)
    picture = draw.integers(0, 120, (SIDE, SIDE, 3), np.uint8) + (inside[..., None] // 2)
    sism = np.clip(inside * 0.6 + draw.normal(40, 30, inside.shape), 0, 255).astype(np.uint8)
    encoded = {"image": picture.astype(np.uint8), "sism": sism, "mask": inside}
    key = {"group": group, "name": f"{number:02d}", "height": SIDE, "width": SIDE, "digest": f"{group}{number}"}
    return key | {name: images.encode(array) for name, array in encoded.items()}


@pytest.fixture(scope="session")
def samples(tmp_path_factory):
    """A finished samples table: three groups to train on, one of them with a single image, and one to validate on."""
    folder = tmp_path_factory.mktemp("toys") / "samples"
    counts = {"alone": (1, 4), "hexagon": (6, 6), "square": (9, 4), "triangle": (10, 3)}
    rows = [sample(group, number, sides) for group, (count, sides) in counts.items() for number in range(count)]
    tables.write_table(folder, pa.Table.from_pylist(rows, tables.SAMPLES), [])
    return folder


def test_a_training_leaves_a_model_a_history_and_a_run_to_look_at(samples, tmp_path, ray_session, mlflow_here, capsys):
    target = tmp_path / "data" / "model"
    train_model(samples, target, TrainConfig(**KNOBS), ModelConfig(**NETWORK))
    files = ["history.csv", "last.safetensors", "model.safetensors", "run.json"]
    assert sorted(file.name for file in target.iterdir()) == files
    history, facts = pd.read_csv(target / "history.csv"), json.loads((target / "run.json").read_text())
    assert history["epoch"].tolist() == [1, 2]
    best = history.loc[history["val_max_f"].idxmax()]
    assert facts["best"]["val_max_f"] == pytest.approx(best["val_max_f"])
    model = checkpoint.load(target / "model.safetensors")
    assert model.config.size == SIDE
    kept, last = (checkpoint.read_metadata(target / f"{name}.safetensors") for name in ("model", "last"))
    assert kept["run_id"] == last["run_id"] == facts["run_id"]
    assert (kept["epoch"], last["epoch"]) == (best["epoch"], 2)
    assert not list((tmp_path / "data" / "work" / "train").iterdir())

    run = mlflow_here.get_run(facts["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["train.lr"] == "0.001"
    assert run.data.params["model.size"] == str(SIDE)
    assert {one.dataset.name for one in run.inputs.dataset_inputs} == {"toys"}
    steps = curve(mlflow_here, facts["run_id"], "train/step_loss")
    assert list(steps) == list(range(1, 11))
    losses = curve(mlflow_here, facts["run_id"], "train/loss")
    assert list(losses.values()) == pytest.approx(history["train_loss"].tolist())
    assert losses[1] == pytest.approx(np.mean([steps[step] for step in range(1, 6)]))
    assert curve(mlflow_here, facts["run_id"], "val/max_f")[2] == pytest.approx(history["val_max_f"][1])
    panels = [file.path for file in mlflow_here.list_artifacts(facts["run_id"], "images")]
    assert any("val~panel~hexagon+step+2+" in path for path in panels)

    said = capsys.readouterr().out.splitlines()
    assert any("groups of one image skipped" in line and "(1): alone" in line for line in said)
    assert [line for line in said if "epoch 1/2  loss" in line and "to go" in line]
    assert "model and history in" in said[-1]


def test_whitened_compressions_that_are_frozen_are_kept(samples, tmp_path, ray_session, mlflow_here):
    config, network = (
        TrainConfig(**KNOBS | {"freeze": ["backbone", "compress"]}),
        ModelConfig(**NETWORK | {"init": "whitened"}),
    )
    train_model(samples, tmp_path / "model", config, network)
    model = checkpoint.load(tmp_path / "model" / "model.safetensors")
    kept = {name: weight.clone() for name, weight in model.compress.state_dict().items()}
    table = write_memory_map(samples, tmp_path / "samples.arrow")
    whitening.whiten_compression(model, load_examples(table, split_groups(table, config.validation, config.seed)))
    for name, weight in model.compress.state_dict().items():
        torch.testing.assert_close(kept[name], weight, rtol=0.01, atol=0.001)


def first_moments(optimizer):
    """Adam's first moments: after one step a tenth of the gradient (with weight decay)."""
    return [optimizer.state[p]["exp_avg"] for group in optimizer.param_groups for p in group["params"]]


def test_two_ranks_give_the_gradient_of_two_accumulated_batches(samples, tmp_path, ray_session):
    config, network = TrainConfig(**KNOBS), ModelConfig(**NETWORK)
    first, stored = tmp_path / "first.safetensors", tmp_path / "samples.arrow"
    checkpoint.save(build_initial_model(config, network), first)
    split = split_groups(write_memory_map(samples, stored), config.validation, config.seed)

    def one_step(config):
        worker = Worker(config["job"])
        steps = training.run_steps(worker.training, 1, worker.steps, worker.load, worker.config.seed)
        next(steps)
        torch.save(first_moments(worker.training.optimizer), tmp_path / f"rank-{worker.rank}.pt")

    scaling = ray.train.ScalingConfig(num_workers=2)
    run = ray.train.RunConfig(name="gradients", storage_path=str(tmp_path))
    job = Job(config, split, str(stored), str(first), queue=None)
    TorchTrainer(one_step, train_loop_config={"job": job}, scaling_config=scaling, run_config=run).fit()

    alone = Training(model := checkpoint.load(first), optimizer := training.make_optimizer(model), schedule=None)
    alone.schedule = training.make_schedule(optimizer)
    seats = assign_to_rank(plan_epoch(split.train, config.batch_size, config.seed, 0), 1, 0, rounds=2)[0]
    loader = BatchLoader(open_memory_map(stored), config.seed, Augmentation(config.flip))
    alone.step([loader.seat(seat, 0) for seat in seats])
    for rank in (0, 1):
        found = torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True)
        torch.testing.assert_close(found, first_moments(optimizer), rtol=1e-3, atol=1e-7)


def test_a_training_has_another_name_when_its_model_may_differ(samples):
    config, network = TrainConfig(**KNOBS), ModelConfig(**NETWORK)
    name = fingerprint_training(samples, config, network)
    assert name == fingerprint_training(
        samples, config.model_copy(update={"prefetch_threads": 3, "max_failures": 0}), network
    )
    assert name != fingerprint_training(samples, config.model_copy(update={"lr": 2e-3}), network)
    assert name != fingerprint_training(samples, config, ModelConfig(**NETWORK | {"width": 0.1}))


def test_first_weights_that_are_not_there_are_an_error_that_names_the_param(tmp_path):
    with pytest.raises(TrainError, match=r"model\.weights: there is no file nowhere\.pth"):
        build_initial_model(TrainConfig(), ModelConfig(**NETWORK, weights="nowhere.pth"))
    with pytest.raises(TrainError, match=r"model: .*size must be at least"):
        build_initial_model(TrainConfig(), ModelConfig(size=8))


def test_a_part_to_freeze_that_the_network_lacks_is_an_error_that_lists_its_parts():
    with pytest.raises(TrainError, match=r"no part conv6 \(there: backbone, .*conv5\)"):
        build_initial_model(TrainConfig(freeze=["conv1", "decoder", "conv6"]), ModelConfig(**NETWORK))


def test_params_that_make_no_sense_are_refused_by_name():
    with pytest.raises(ParamsError, match=r"`train\.batch_size`: .*got 1"):
        parse_section({"batch_size": 1}, "train", TrainConfig)
    with pytest.raises(ParamsError, match=r"unknown key `model\.depth`"):
        parse_section({"depth": 3}, "model", ModelConfig)


def test_a_training_that_breaks_off_says_why_and_marks_its_run(samples, tmp_path, ray_session, mlflow_here):
    config = TrainConfig(**KNOBS | {"lr": 1e30, "max_failures": 0})
    with pytest.raises(TrainError, match=r"broke off \(.*loss is not finite any more in epoch"):
        train_model(samples, tmp_path / "model", config, ModelConfig(**NETWORK))
    (known,) = (tmp_path / "work" / "train").glob("*/mlflow.json")
    run = mlflow_here.get_run(json.loads(known.read_text())["run_id"])
    assert run.info.status == "FAILED"
    assert not (tmp_path / "model").exists()


class Stage:
    """The stage as a process in a folder of its own: two ranks, eight epochs, a checkpoint every two steps."""

    def __init__(self, folder, samples, init="whitened", **changes):
        self.folder, self.samples = folder, samples
        config = (
            KNOBS
            | {"epochs": 8, "num_workers": 2, "checkpoint_steps": 2, "schedule": "cosine", "ema_decay": 0.9}
            | changes
        )
        config |= {"crop": 0.2, "color_jitter": 0.2, "sism_noise": 0.5}
        network = NETWORK | {"init": init}
        (self.folder / "params.yaml").write_text(yaml.safe_dump({"train": config, "model": network}))
        uri = f"sqlite:///{self.folder / 'mlflow.db'}"
        self.client, self.environment = MlflowClient(uri, uri), {**os.environ, "MLFLOW_TRACKING_URI": uri}
        self.environment.pop("RAY_ADDRESS", None)

    def start(self):
        command = [sys.executable, "-m", "pipeline.train", str(self.samples), "data/model"]
        return subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, text=True)

    def wait_for(self, process, epoch):
        """Read what the process says until it tells of that epoch."""
        for line in process.stdout:
            if line.startswith(f"train: epoch {epoch}/"):
                return
        raise AssertionError(f"the stage ended with {process.wait()} before epoch {epoch}")

    def results(self):
        history = pd.read_csv(self.folder / "data" / "model" / "history.csv")
        facts = json.loads((self.folder / "data" / "model" / "run.json").read_text())
        experiment = self.client.get_experiment_by_name(tracking.EXPERIMENT).experiment_id
        assert [run.info.run_id for run in self.client.search_runs([experiment])] == [facts["run_id"]]
        assert self.client.get_run(facts["run_id"]).info.status == "FINISHED"
        steps = curve(self.client, facts["run_id"], "train/step_loss")
        weights = checkpoint.load(self.folder / "data" / "model" / "model.safetensors").state_dict()
        exact = ["epoch", "train_loss", "lr", *(name for name in history if name.startswith("val_"))]
        return history[exact], steps, weights


def same(found, expected):
    """Compare the results of two stages to the last bit."""
    pd.testing.assert_frame_equal(found[0], expected[0], check_exact=True)
    assert found[1] == expected[1]
    assert all(torch.equal(found[2][name], tensor) for name, tensor in expected[2].items())


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_compiled_training_learns_the_same_but_for_rounding(samples, tmp_path):
    histories = []
    for compiled in (False, True):
        folder = tmp_path / f"compiled-{compiled}"
        folder.mkdir()
        process = (stage := Stage(folder, samples, "he", epochs=2, num_workers=1, compile=compiled)).start()
        process.communicate(timeout=1000)
        assert process.returncode == 0
        histories.append(stage.results()[0])
    pd.testing.assert_frame_equal(*histories, rtol=1e-2)


@pytest.fixture(scope="module")
def undisturbed(samples, tmp_path_factory):
    """The results of a stage that nobody disturbed."""
    stage = Stage(tmp_path_factory.mktemp("undisturbed"), samples)
    process = stage.start()
    process.communicate(timeout=500)
    assert process.returncode == 0
    return stage.results()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_training_goes_on_by_itself_and_to_the_same_end_when_a_rank_is_killed(samples, tmp_path, undisturbed):
    stage = Stage(tmp_path, samples)
    process = stage.start()
    stage.wait_for(process, 3)
    below = psutil.Process(process.pid).children(recursive=True)
    ranks = [child for child in below if "RayTrainWorker" in " ".join(child.cmdline())]
    assert len(ranks) == 2
    ranks[0].kill()
    process.communicate(timeout=600)
    assert process.returncode == 0
    same(stage.results(), undisturbed)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_training_goes_on_to_the_same_end_when_its_driver_was_killed_and_is_run_again(samples, tmp_path, undisturbed):
    stage = Stage(tmp_path, samples)
    process = stage.start()
    stage.wait_for(process, 4)
    below = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    psutil.wait_procs(below, timeout=60)
    process = stage.start()
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0
    assert "goes on from the last checkpoint" in said
    assert "epoch 1/8" not in said
    same(stage.results(), undisturbed)
