"""Speed and memory of stage predict.

speed: images/s of the stage on all cores, after each worker has written one shard, divided by images/s of the bare
forward pass: the same network, one process of one thread per core, measured before and after the stage.
growth: duration and memory for one group of 10, 100, 1000 ... images.

    python -m benchmarks.predict speed --images 480
    python -m benchmarks.predict growth --size 112 --width 0.25 --max-images 10000
"""

import os
import tempfile
import time
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from benchmarks import processes
from icnet import checkpoint, images
from icnet.config import Config
from icnet.inference import Predictor, optimize
from icnet.model import ICNet
from pipeline import tables
from pipeline.tables import Shard

SAMPLES_SHARD_SIZE = 256
NUM_FORWARD_PASSES = 5
"""Timed forward passes in each process."""

app = typer.Typer(add_completion=False)
Size = Annotated[int, typer.Option(help="Side of the network's input in px.")]
Width = Annotated[float, typer.Option(help="Factor of the number of channels.")]
BatchSize = Annotated[int, typer.Option("--batch-size", help="Images that go through the network at once.")]


def write_samples(folder: Path, groups: dict[str, int], size: int) -> Path:
    """Write a samples table of noise with original sizes of 300 x 400 px; the same 8 pictures are repeated."""
    random = np.random.default_rng(0)
    pictures = [images.encode(random.integers(0, 255, (size, size, 3), np.uint8)) for _ in range(8)]
    sisms = [images.encode(random.integers(0, 255, (size, size), np.uint8)) for _ in range(8)]
    rows = [
        {
            "group": group,
            "name": f"{number:06d}",
            "image": pictures[number % 8],
            "sism": sisms[number % 8],
            "height": 300,
            "width": 400,
            "digest": f"{group}{number}",
        }
        for group, count in groups.items()
        for number in range(count)
    ]
    starts = range(0, len(rows), SAMPLES_SHARD_SIZE)
    shards = [
        Shard(number, start, min(start + SAMPLES_SHARD_SIZE, len(rows)), f"{size}-{start}")
        for number, start in enumerate(starts)
    ]
    with tables.TableWriter(folder, shards, tables.SAMPLES) as writer:
        for shard in shards:
            tables.write_shard(writer.address, shard, tables.SAMPLES, rows[shard.start : shard.stop], [])
        writer.finish(size=size)
    return folder


def write_weights(folder: Path, size: int, width: float) -> Path:
    """Write a checkpoint of random weights."""
    torch.manual_seed(0)
    checkpoint.save(ICNet(Config(size=size, width=width, init="he")), folder / "model.safetensors")
    return folder / "model.safetensors"


def make_stage_code(samples: Path, model: Path, maps: Path, batch_size: int) -> str:
    """Code that runs the stage in another process."""
    folders = ", ".join(f"Path({str(path)!r})" for path in (samples, model, maps, maps.with_name(f"{maps.name}-work")))
    return (
        "from pathlib import Path; from pipeline.predict.config import PredictConfig; "
        "from pipeline.predict.stage import predict_maps; "
        f"predict_maps({folders}, PredictConfig(batch_size={batch_size}, shard_size=40))"
    )


def measure_forward_rate(model: Path, size: int, group_size: int, batch_size: int, cores: int) -> float:
    """Images/s of the bare forward pass with one process of one thread per core, as the stage has."""
    return sum(processes.run_together(_time_forward_passes, [(model, size, group_size, batch_size)] * cores))


def _time_forward_passes(
    model: Path, size: int, group_size: int, batch_size: int, barrier: Barrier, rates: "Queue[float]"
) -> None:
    torch.set_num_threads(1)
    predictor = Predictor(optimize(checkpoint.load(model)), batch_size)
    inputs = torch.randn(group_size, 3, size, size), torch.rand(group_size, 1, size, size)
    with torch.inference_mode():
        predictor.predict(*inputs)
        barrier.wait()
        started = time.perf_counter()
        for _ in range(NUM_FORWARD_PASSES):
            predictor.predict(*inputs)
        rates.put(NUM_FORWARD_PASSES * group_size / (time.perf_counter() - started))
        barrier.wait()


@app.command()
def speed(
    count: Annotated[int, typer.Option("--images")] = 480,
    group_size: Annotated[int, typer.Option("--group-size", help="Images in a group.")] = 10,
    size: Size = 224,
    width: Width = 1.0,
    batch_size: BatchSize = 8,
) -> None:
    """Images/s of the stage divided by images/s of the bare forward pass."""
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = write_weights(folder, size, width)
        groups = {f"g{number:05d}": group_size for number in range(count // group_size)}
        samples = write_samples(folder / "samples", groups, size)
        before = measure_forward_rate(model, size, group_size, batch_size, cores)
        seconds = processes.run_code(make_stage_code(samples, model, folder / "maps", batch_size))
        bare = (before + measure_forward_rate(model, size, group_size, batch_size, cores)) / 2
        stage = processes.measure_steady_rate(folder / "maps", cores)
    print(f"{size} px, width {width}, groups of {group_size}, batch size {batch_size}, {cores} cores, {count} images")
    print(f"bare forward {bare:8.2f} images/s")
    print(f"stage        {stage:8.2f} images/s; start and end take {seconds - count / stage:.1f} s")
    print(f"ratio        {stage / bare:8.2f}")


@app.command()
def growth(
    size: Size = 112,
    width: Width = 0.25,
    batch_size: BatchSize = 8,
    max_images: Annotated[int, typer.Option(help="Images in the largest group.")] = 10000,
) -> None:
    """Duration and memory of the stage for one group of 10, 100 ... `max_images` images."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, count = Path(temporary), 10
        model = write_weights(folder, size, width)
        while count <= max_images:
            samples = write_samples(folder / f"samples{count}", {"one": count}, size)
            code = make_stage_code(samples, model, folder / f"maps{count}", batch_size)
            seconds, peak = processes.run_code_with_memory(code)
            print(f"a group of {count:6d}: {seconds:7.1f} s, peak memory {peak / 1e6:6.0f} MB", flush=True)
            count *= 10


if __name__ == "__main__":
    app()
