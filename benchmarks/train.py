"""Speed of stage train: images/s of the whole stage, data and Ray included, against the bare training step.

    python benchmarks/train.py speed --size 224 --width 1.0 --precision bf16
    python benchmarks/train.py loaders --size 224

`speed` times the bare step on one batch in memory, in a Ray worker of its own, then the stage; both on all cores or on
one GPU. `loaders` times ways to bring group batches to a step that takes no time: images/s, and CPU time of an image.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import pyarrow as pa
import ray
import ray.data
import torch
import typer
from PIL import Image
from torch.utils.data import DataLoader

from icnet import images, training
from icnet.config import Config
from icnet.hardware import trains_fast_with_channels_last
from icnet.model import ICNet
from icnet.training import Batch, Training
from pipeline import tables
from pipeline.runtime import cluster, devices, parallel
from pipeline.train.augment import Augmentation
from pipeline.train.config import ModelConfig, TrainConfig
from pipeline.train.dataset import BatchLoader, open_memory_map, write_memory_map
from pipeline.train.sampler import BatchSlot, assign_to_rank, plan_epoch
from pipeline.train.split import split_groups
from pipeline.train.stage import train_model

GROUP = 20
WORKERS = (1, 2, 4, 16)
app = typer.Typer(add_completion=False)
Size = Annotated[int, typer.Option(help="px a side")]


def write(folder: Path, groups: int, size: int) -> Path:
    """A samples table of smooth noise, which compresses about as photographs do."""
    draw = np.random.default_rng(0)

    def picture(*shape: int) -> bytes:
        coarse = draw.integers(0, 256, shape, np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))
        return images.encode(np.clip(smooth + draw.normal(0, 2, smooth.shape), 0, 255).astype(np.uint8))

    rows = [
        {
            "group": f"g{number // GROUP:04d}",
            "name": f"{number:06d}",
            "image": picture(size // 8, size // 8, 3),
            "sism": picture(size // 8, size // 8),
            "mask": picture(size // 32, size // 32),
            "height": size,
            "width": size,
            "digest": str(number),
        }
        for number in range(groups * GROUP)
    ]
    tables.write_table(folder, pa.Table.from_pylist(rows, tables.SAMPLES), [])
    return folder


def bare(network: Config, config: TrainConfig, seconds: float) -> float:
    """Images/s of the training step alone, on a batch that is there."""
    torch.set_num_threads(os.cpu_count() or 1)
    device = devices.get_device()
    model = ICNet(network)
    model.channels_last = trains_fast_with_channels_last(device)
    model.to(device, memory_format=torch.channels_last if model.channels_last else torch.contiguous_format)
    optimizer = training.make_optimizer(model)
    trained = Training(model, optimizer, training.make_schedule(optimizer), precision=config.precision)
    n, s = config.batch_size, network.size
    batch = Batch(torch.randn(n, 3, s, s), torch.rand(n, 1, s, s), torch.rand(n, 1, s, s).round()).to(device)
    for _ in range(3):
        trained.step([batch]).item()
    steps, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        trained.step([batch]).item()
        steps += 1
    return steps * n / (time.perf_counter() - began)


@app.command()
def speed(
    size: Size = 112,
    width: float = 0.25,
    precision: str = "float32",
    groups: int = 10,
    epochs: int = 3,
    rounds: int = 2,
) -> None:
    """Images/s of stage and bare step, their ratio, the share of time spent waiting for data, and the start-up."""
    network = ModelConfig(size=size, width=width, init="he")
    config = TrainConfig(epochs=epochs, lr=1e-4, precision=precision, validation=0.0)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        samples = write(Path(folder, "samples"), groups, size)
        with cluster.connect():
            need = {"num_gpus": 1} if cluster.count_gpus() else {"num_cpus": 1}
            work = ray.remote(**need, max_calls=1)(bare)
            for number in range(rounds):
                alone = ray.get(work.remote(Config(size=size, width=width, init="he"), config, 15.0))
                target, began = Path(folder, f"model-{number}"), time.perf_counter()
                train_model({"toys": samples}, target, config, network)
                total = time.perf_counter() - began
                history = pd.read_csv(target / "history.csv")
                found = history["images_per_s"].iloc[1:].max()
                print(
                    f"bare step {alone:.1f} images/s, stage {found:.1f}: ratio {found / alone:.2f};"
                    f" waited for data {history['wait_share'].iloc[1:].mean():.1%} of the time;"
                    f" start-up and end {total - history['seconds'].sum():.1f} s"
                )


class Items(torch.utils.data.Dataset):
    """A slot is an item, for torch's DataLoader."""

    def __init__(self, file: Path, slots: list[BatchSlot]) -> None:
        self.file, self.slots, self.loader = file, slots, None

    def __len__(self) -> int:
        return len(self.slots)

    def __getitem__(self, place: int) -> Batch:
        self.loader = self.loader or BatchLoader(open_memory_map(self.file), 0, Augmentation(0.5))
        return self.loader.load_slot(self.slots[place], 0)


@app.command()
def loaders(size: Size = 224, groups: int = 40) -> None:
    """Images/s of threads, of torch's DataLoader and of Ray Data, the first batch's wait apart.

    More workers than cores show what their number costs; threads share one interpreter lock.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "samples.arrow")
        table = write_memory_map({"toys": write(Path(folder, "samples"), groups, size)}, file)
        plan = plan_epoch(split_groups(table, 0.0, 0).train, 10, 0, 0)
        slots = [slot for step in assign_to_rank(plan, 1, 0) for slot in step]
        loader = BatchLoader(table, 0, Augmentation(0.5))
        _time("in line", lambda: (loader.load_slot(slot, 0) for slot in slots))
        for threads in WORKERS:
            _time(
                f"{threads} threads",
                lambda n=threads: parallel.prefetch(lambda slot: loader.load_slot(slot, 0), slots, n),
            )
        for workers in WORKERS:
            items = Items(file, slots)
            _time(f"DataLoader, {workers} processes", lambda n=workers, i=items: DataLoader(i, None, num_workers=n))
        with cluster.connect():
            _time("Ray Data, one row a batch", lambda: _rows(file, slots))


def _rows(file: Path, slots: list[BatchSlot]) -> Iterator[dict]:
    items = Items(file, slots)

    def load(row: dict) -> dict:
        batch = items[row["item"]]
        return {"images": batch.images.numpy(), "sisms": batch.sisms.numpy(), "masks": batch.masks.numpy()}

    return ray.data.range(len(slots)).map(lambda row: load({"item": row["id"]}), num_cpus=0.5).iter_rows()


def _time(name: str, stream: Callable[[], Iterator]) -> None:
    began, cpu = time.perf_counter(), sum(os.times()[:4])
    batches_ = iter(stream())
    next(batches_)
    first = time.perf_counter() - began
    count = sum(10 for _ in batches_)
    rate, spent = count / (time.perf_counter() - began - first), 1000 * (sum(os.times()[:4]) - cpu) / (count + 10)
    print(f"{name:<28} {rate:8.0f} images/s, CPU {spent:5.2f} ms an image, first batch {first:5.2f} s", flush=True)


if __name__ == "__main__":
    app()
