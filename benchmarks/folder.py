"""`cosal predict` on a folder of photographs, beside the bare networks.

The command runs from start to end in its own process: imports, checks, SISMs, maps, files and page. The bare networks
are the same SOD network and the same ICNet on inputs that are ready in memory: one process of one thread per core, each
with its share of the photographs, without imports and loading. Both run in turn, several times.

    python -m benchmarks.folder PHOTOS
"""

import os
import subprocess
import sys
import tempfile
import time
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import torch
import typer

from benchmarks import processes
from icnet import checkpoint
from icnet.inference import Predictor, optimize
from pipeline.cli.models import find_model

SISM_SIDE = 320
"""Side of U2NetP's input in px."""

TARGET_RATIO, TARGET_SECONDS = 1.25, 5.0
"""The command is to take at most this many times the networks' time, and these seconds."""

app = typer.Typer(add_completion=False)


def time_command(photos: Path, *options: str) -> tuple[float, float]:
    """Seconds until the first map lies in the output folder, and until the command has ended."""
    with tempfile.TemporaryDirectory() as folder:
        out, started = Path(folder, "out"), time.perf_counter()
        code = "from pipeline.cli.app import main; main()"
        command = [sys.executable, "-c", code, "predict", str(photos), str(out), *options]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        first = 0.0
        while process.poll() is None:
            time.sleep(0.02)
            if not first and next(out.glob("*/*.png"), None):
                first = time.perf_counter() - started
        seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"cosal predict ended with {process.returncode}")
    return first or seconds, seconds


def time_help() -> float:
    """Seconds of `cosal --help`."""
    started = time.perf_counter()
    code = "from pipeline.cli.app import main; main()"
    subprocess.run([sys.executable, "-c", code, "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def time_networks(num_images: int) -> float:
    """Seconds of the bare networks for these many images, on all cores."""
    shares = np.array_split(np.arange(num_images), len(os.sched_getaffinity(0)))
    return max(processes.run_together(_run_networks, [(len(share),) for share in shares]))


def _run_networks(num_images: int, barrier: Barrier, seconds: "Queue[float]") -> None:
    import onnxruntime

    torch.set_num_threads(1)
    found = find_model(str(checkpoint.WEIGHTS_FILE), Path())
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(found.sism_method.partition(":")[2], settings)
    name = session.get_inputs()[0].name
    network = optimize(checkpoint.load(found.weights))
    side = network.config.size
    small = np.zeros((1, 3, SISM_SIDE, SISM_SIDE), np.float32)
    images, sisms = torch.randn(num_images, 3, side, side), torch.rand(num_images, 1, side, side)
    predictor = Predictor(network, 8)
    with torch.inference_mode():
        session.run(None, {name: small})
        predictor.predict(images[:2], sisms[:2])
        barrier.wait()
        started = time.perf_counter()
        for _ in range(num_images):
            session.run(None, {name: small})
        predictor.predict(images, sisms)
        seconds.put(time.perf_counter() - started)
        barrier.wait()


@app.command()
def main(
    photos: Annotated[Path, typer.Argument(help="A folder of photographs, or of groups of photographs.")],
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each.")] = 3,
    ray: Annotated[bool, typer.Option("--ray", help="Also time the command on a Ray that it starts.")] = False,
) -> None:
    """Print seconds and ratios."""
    num_images = sum(1 for file in photos.rglob("*") if file.is_file())
    firsts, commands, networks, on_ray = [], [], [], []
    for _ in range(repeats):
        first, command = time_command(photos)
        firsts.append(first)
        commands.append(command)
        networks.append(time_networks(num_images))
        if ray:
            on_ray.append(time_command(photos, "--ray")[1])
    bare, whole = median(networks), median(commands)
    print(f"{num_images} photographs, median of {repeats} runs")
    print(f"bare networks   {bare:6.2f} s")
    print(f"cosal predict   {whole:6.2f} s, first map after {median(firsts):.2f} s")
    print(f"ratio           {whole / bare:6.2f}")
    above = whole - TARGET_RATIO * bare
    print(f"above {TARGET_RATIO} times the networks: {above:.2f} s (at most {TARGET_SECONDS:.0f} s)")
    if ray:
        print(f"cosal predict --ray  {median(on_ray):.2f} s")
    print(f"cosal --help    {median(time_help() for _ in range(repeats)):6.2f} s")


if __name__ == "__main__":
    app()
