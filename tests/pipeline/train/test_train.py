"""Stage train with real Ray Train and MLflow, on a small network and small pictures."""

import json
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest
import ray.train
import torch
from ray.train.torch import TorchTrainer

from icnet import checkpoint, training, whitening
from icnet.config import Config
from icnet.training import Training
from pipeline.runtime.params import ParamsError, parse_section
from pipeline.train.augment import Augmentation
from pipeline.train.config import ModelConfig, TrainConfig
from pipeline.train.dataset import BatchLoader, load_examples, open_memory_map, write_memory_map
from pipeline.train.initial import build_initial_model
from pipeline.train.job import TrainError
from pipeline.train.sampler import assign_to_rank, plan_epoch
from pipeline.train.split import split_groups
from pipeline.train.stage import train_model
from pipeline.train.worker import Worker
from tests.helpers.logged import curve
from tests.helpers.trainings import NETWORK, OPTIONS, SIDE


def test_a_training_leaves_a_model_a_history_and_a_run_to_look_at(samples, tmp_path, ray_session, mlflow_here, capsys):
    target, config, network = tmp_path / "data" / "model", TrainConfig(**OPTIONS), ModelConfig(**NETWORK)
    train_model({"toys": samples}, target, config, network)
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
    assert not [file for file in (tmp_path / "data" / "work" / "train").rglob("*") if file.is_file()]

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

    train_model({"toys": samples}, target, config.model_copy(update={"panels_every": 3, "max_failures": 0}), network)
    assert "nothing to do" in capsys.readouterr().out
    assert json.loads((target / "run.json").read_text()) == facts


@pytest.mark.slow
def test_whitened_compressions_that_are_frozen_are_kept(samples, tmp_path, ray_session, mlflow_here):
    config, network = (
        TrainConfig(**OPTIONS | {"freeze": ["backbone", "compress"]}),
        ModelConfig(**NETWORK | {"init": "whitened"}),
    )
    train_model({"toys": samples}, tmp_path / "model", config, network)
    model = checkpoint.load(tmp_path / "model" / "model.safetensors")
    kept = {name: weight.clone() for name, weight in model.compress.state_dict().items()}
    table = write_memory_map({"toys": samples}, tmp_path / "samples.arrow")
    whitening.whiten_compression(model, load_examples(table, split_groups(table, config.validation, config.seed)))
    for name, weight in model.compress.state_dict().items():
        torch.testing.assert_close(kept[name], weight, rtol=0.01, atol=0.001)


def first_moments(optimizer):
    """Adam's first moments: after one step a tenth of the gradient (with weight decay)."""
    return [optimizer.state[p]["exp_avg"] for group in optimizer.param_groups for p in group["params"]]


def test_two_ranks_give_the_gradient_of_two_accumulated_batches(make_job, tmp_path, ray_session):
    job = make_job()
    config, split = job.config, job.split

    def one_step(config):
        worker = Worker(config["job"])
        steps = training.run_steps(worker.training, 1, worker.plan_steps, worker.load_steps, worker.config.seed)
        next(steps)
        torch.save(first_moments(worker.training.optimizer), tmp_path / f"rank-{worker.rank}.pt")

    scaling = ray.train.ScalingConfig(num_workers=2)
    run = ray.train.RunConfig(name="gradients", storage_path=str(tmp_path))
    TorchTrainer(one_step, train_loop_config={"job": job}, scaling_config=scaling, run_config=run).fit()

    alone = Training(model := checkpoint.load(job.initial), optimizer := training.make_optimizer(model), schedule=None)
    alone.schedule = training.make_schedule(optimizer)
    slots = assign_to_rank(plan_epoch(split.train, config.batch_size, config.seed, 0), 1, 0, accumulated=2)[0]
    loader = BatchLoader(open_memory_map(job.samples), config.seed, Augmentation(config.flip))
    alone.step([loader.load_slot(slot, 0) for slot in slots])
    for rank in (0, 1):
        found = torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True)
        torch.testing.assert_close(found, first_moments(optimizer), rtol=1e-3, atol=1e-7)


def test_first_weights_that_are_not_there_are_an_error_that_names_the_param(tmp_path):
    with pytest.raises(TrainError, match=r"model\.weights: there is no file nowhere\.pth"):
        build_initial_model(TrainConfig(), ModelConfig(**NETWORK, weights="nowhere.pth"))
    with pytest.raises(TrainError, match=r"model: .*size must be at least"):
        build_initial_model(TrainConfig(), ModelConfig(size=8))


def test_a_part_to_freeze_that_the_network_lacks_is_an_error_that_lists_its_parts():
    with pytest.raises(TrainError, match=r"no part conv6 \(there: backbone, .*conv5, top\)"):
        build_initial_model(TrainConfig(freeze=["conv1", "decoder", "conv6"]), ModelConfig(**NETWORK))


def test_params_that_make_no_sense_are_refused_by_name():
    with pytest.raises(ParamsError, match=r"`train\.batch_size`: .*got 1"):
        parse_section({"batch_size": 1}, "train", TrainConfig)
    with pytest.raises(ParamsError, match=r"unknown key `model\.depth`"):
        parse_section({"depth": 3}, "model", ModelConfig)


def test_the_options_of_a_model_are_those_of_the_network():
    names = set(ModelConfig.model_fields) - {"weights"}
    assert names == {field.name for field in fields(Config)}
    assert Config(**ModelConfig().model_dump(exclude={"weights"})) == Config()
    assert all(field.description for kind in (TrainConfig, ModelConfig) for field in kind.model_fields.values())


@pytest.mark.slow
def test_a_training_computes_in_the_memory_format_that_is_asked_for(make_job, tmp_path, ray_session):
    def look(config):
        worker = Worker(config["job"])
        seen = []
        first = worker.training.model.backbone.vgg[0]
        first.register_forward_hook(lambda _, inputs, output: seen.extend([inputs[0], output]))
        next(training.run_steps(worker.training, 1, worker.plan_steps, worker.load_steps))
        formats = [tensor.is_contiguous(memory_format=torch.channels_last) for tensor in seen]
        torch.save(formats, tmp_path / f"{worker.config.channels_last}")

    for channels_last in (True, False):
        run = ray.train.RunConfig(name=f"format-{channels_last}", storage_path=str(tmp_path))
        scaling = ray.train.ScalingConfig(num_workers=1)
        job = make_job(channels_last=channels_last)
        TorchTrainer(look, train_loop_config={"job": job}, scaling_config=scaling, run_config=run).fit()
        assert torch.load(tmp_path / f"{channels_last}") == [channels_last, channels_last]


def test_a_loss_that_is_not_finite_ends_the_training_once_with_what_to_change(
    samples, tmp_path, ray_session, mlflow_here, capfd
):
    config = TrainConfig(**OPTIONS | {"lr": 1e30})
    with pytest.raises(TrainError, match=r"^training stopped: the loss is not finite in epoch .*lower `lr`") as found:
        train_model({"toys": samples}, tmp_path / "model", config, ModelConfig(**NETWORK))
    assert "run it again" not in str(found.value)
    said = capfd.readouterr()
    assert "Traceback" not in said.out + said.err
    (known,) = (tmp_path / "work" / "train").glob("*/mlflow.json")
    run = mlflow_here.get_run(json.loads(known.read_text())["run_id"])
    assert run.info.status == "FAILED"
    assert not (tmp_path / "model").exists()


def test_a_worker_imports_no_mlflow():
    program = "import sys, pipeline.train.launcher; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
