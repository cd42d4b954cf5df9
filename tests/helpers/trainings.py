"""Options of a small training, and the stage as a process to be killed."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
import yaml
from mlflow.tracking import MlflowClient
from PIL import Image, ImageDraw

from icnet import checkpoint, images
from pipeline import tables, tracking
from tests.helpers.logged import curve

SIDE = 32
OPTIONS = {"dataset": "toys", "epochs": 2, "batch_size": 4, "lr": 1e-3, "use_gpu": False, "validation": ["hexagon"]}
NETWORK = {"size": SIDE, "width": 0.05, "init": "he"}


def make_sample(group, number, sides, side=SIDE):
    """A polygon of `sides` corners on noise, `side` px; its SISM is the mask with noise."""
    draw = np.random.default_rng([sides, number])
    mask = Image.new("L", (side, side))
    x, y = draw.integers(10, 22, 2).tolist()
    ImageDraw.Draw(mask).regular_polygon((x, y, 8), sides, rotation=int(draw.integers(360)), fill=255)
    inside = np.asarray(mask)
    picture = draw.integers(0, 120, (side, side, 3), np.uint8) + (inside[..., None] // 2)
    sism = np.clip(inside * 0.6 + draw.normal(40, 30, inside.shape), 0, 255).astype(np.uint8)
    encoded = {"image": picture.astype(np.uint8), "sism": sism, "mask": inside}
    key = {"group": group, "name": f"{number:02d}", "height": side, "width": side, "digest": f"{group}{number}"}
    return key | {name: images.encode(array) for name, array in encoded.items()}


def write_samples(folder, side=SIDE):
    """A finished samples table: three groups to train on, one of them with a single image, and one to validate on."""
    counts = {"alone": (1, 4), "hexagon": (6, 6), "square": (9, 4), "triangle": (10, 3)}
    rows = [
        make_sample(group, number, sides, side) for group, (count, sides) in counts.items() for number in range(count)
    ]
    tables.write_table(folder, pa.Table.from_pylist(rows, tables.SAMPLES), [])
    return folder


class Stage:
    """The stage as a process in its own folder: two ranks, eight epochs, a checkpoint every two steps."""

    def __init__(self, folder, samples, init="whitened", **changes):
        self.folder, self.samples = folder, samples
        options = OPTIONS | {
            "dataset": samples.name,
            "epochs": 8,
            "num_workers": 2,
            "checkpoint_steps": 2,
            "schedule": "cosine",
        }
        options |= {"ema_decay": 0.9, "crop": 0.2, "color_jitter": 0.2, "sism_noise": 0.5} | changes
        network = NETWORK | {"init": init}
        (self.folder / "params.yaml").write_text(yaml.safe_dump({"train": options, "model": network}))
        uri = f"sqlite:///{self.folder / 'mlflow.db'}"
        self.client, self.environment = MlflowClient(uri, uri), {**os.environ, "MLFLOW_TRACKING_URI": uri}
        self.environment.pop("RAY_ADDRESS", None)

    @property
    def work(self):
        """The folder of the unfinished training."""
        (file,) = (self.folder / "data" / "work" / "train").glob("*/identity.json")
        return file.parent

    def start(self):
        command = [sys.executable, "-m", "pipeline.train", str(self.samples.parent), "data/model"]
        return subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, text=True)

    def wait_for(self, process, epoch):
        """Read what the process prints until that epoch."""
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


def assert_same(found, expected):
    """Compare the results of two stages to the last bit."""
    pd.testing.assert_frame_equal(found[0], expected[0], check_exact=True)
    assert found[1] == expected[1]
    assert all(torch.equal(found[2][name], tensor) for name, tensor in expected[2].items())
