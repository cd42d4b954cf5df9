"""Speed and memory of stage predict.

Speed: images/s of the stage on all cores, once each actor has written a shard, against the bare forward pass of
the same network made ready in the same way, on all cores at once, before and after.
Growth: time and memory for one group of 10, 100, 1000 ... images.

    python -m benchmarks.predict speed --images 480
    python -m benchmarks.predict growth --size 112 --width 0.25 --most 10000
"""

import multiprocessing
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
from icnet.model import ICNet
from pipeline import tables
from pipeline.tables import Shard

SHARD = 256
"""Images of a shard of samples."""
PASSES = 5
"""Forward passes that are timed, in each process."""

app = typer.Typer(add_completion=False)
Size = Annotated[int, typer.Option(help="px")]
Width = Annotated[float, typer.Option(help="multiplier of channels")]


def samples(folder: Path, groups: dict[str, int], size: int) -> Path:
    """A samples table of noisy pictures at original sizes of 300 x 400 px, the same few again and again."""
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
    starts = range(0, len(rows), SHARD)
    shards = [Shard(number, at, min(at + SHARD, len(rows)), f"{size}-{at}") for number, at in enumerate(starts)]
    tables.prepare_table(folder, shards)
    for shard in shards:
        tables.write_shard(str(folder), shard, tables.SAMPLES, rows[shard.start : shard.stop], [])
    tables.finish_table(folder, shards, tables.SAMPLES, size=size)
    return folder


def weights(folder: Path, size: int, width: float) -> Path:
    """A file of random weights."""
    torch.manual_seed(0)
    checkpoint.save(ICNet(Config(size=size, width=width, init="he")), folder / "model.safetensors")
    return folder / "model.safetensors"


def stage(table: Path, model: Path, out: Path, batch: int) -> str:
    """Code that runs the stage, for `processes`."""
    return (
        "from pathlib import Path; from pipeline.predict.config import PredictConfig; "
        "from pipeline.predict.stage import predict_maps; "
        f"predict_maps(Path({str(table)!r}), Path({str(model)!r}), Path({str(out)!r}), Path({str(out) + '-work'!r}), "
        f"PredictConfig(batch_size={batch}, shard_size=40))"
    )


def forward(model: Path, size: int, group: int, batch: int, cores: int) -> float:
    """Images/s of the bare forward pass on all cores at once: a process a core, of one thread, as the stage has."""
    context = multiprocessing.get_context("spawn")
    gate, rates = context.Barrier(cores), context.Queue()
    arguments = (model, size, group, batch, gate, rates)
    processes = [context.Process(target=_passes, args=arguments) for _ in range(cores)]
    for process in processes:
        process.start()
    found = sum(rates.get() for _ in processes)
    for process in processes:
        process.join()
    return found


def _passes(model: Path, size: int, group: int, batch: int, gate: Barrier, rates: Queue) -> None:
    torch.set_num_threads(1)
    network = checkpoint.load(model).for_inference()
    network.chunk = batch
    inputs = torch.randn(group, 3, size, size), torch.rand(group, 1, size, size)
    with torch.inference_mode():
        network(*inputs)
        gate.wait()
        began = time.perf_counter()
        for _ in range(PASSES):
            network(*inputs)
        rates.put(PASSES * group / (time.perf_counter() - began))
        gate.wait()


@app.command()
def speed(
    count: Annotated[int, typer.Option("--images")] = 480,
    group: Annotated[int, typer.Option(help="images in a group")] = 10,
    size: Size = 224,
    width: Width = 1.0,
    batch: Annotated[int, typer.Option()] = 8,
) -> None:
    """Images/s of the stage against the bare forward pass."""
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        model = weights(place, size, width)
        table = samples(place / "samples", {f"g{n:05d}": group for n in range(count // group)}, size)
        bare = forward(model, size, group, batch, cores)
        seconds = processes.run(stage(table, model, place / "maps", batch))
        bare = (bare + forward(model, size, group, batch, cores)) / 2
        found = processes.steady(place / "maps", cores)
    print(f"{size} px, width {width}, groups of {group}, batch {batch}, {cores} cores, {count} images")
    print(f"bare forward {bare:8.2f} images/s")
    print(f"stage        {found:8.2f} images/s, start-up and end {seconds - count / found:.1f} s apart")
    print(f"ratio        {found / bare:8.2f}")


@app.command()
def growth(
    size: Size = 112,
    width: Width = 0.25,
    batch: Annotated[int, typer.Option()] = 8,
    most: Annotated[int, typer.Option(help="images in the largest group")] = 10000,
) -> None:
    """Time and memory of the stage for one group of 10, 100 ... `most` images."""
    with tempfile.TemporaryDirectory() as folder:
        place, group = Path(folder), 10
        model = weights(place, size, width)
        while group <= most:
            table = samples(place / f"samples{group}", {"one": group}, size)
            seconds, peak = processes.watched(stage(table, model, place / f"maps{group}", batch))
            print(f"a group of {group:6d}: {seconds:7.1f} s, {peak / 1e6:6.0f} MB at the peak", flush=True)
            group *= 10


if __name__ == "__main__":
    app()
