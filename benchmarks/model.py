"""Speed and memory of the network against the yardstick, each run in its own process, in turns, medians of repeats.

    python benchmarks/model.py inference --sizes 5,10,20     ms and MB per image, ratio to the yardstick
    python benchmarks/model.py training                      a step on ten images
    python benchmarks/model.py group --images 5000           a large group in two passes: peak memory
    python benchmarks/model.py quality --checkpoint FILE     max F of float32 and bf16 on ../shared/data/msrc

The yardstick runs under the allocator settings of the shell, as the released program would; `--allocator` gives both
sides the fast settings. On a machine with other work, OMP_NUM_THREADS=1 and the column of CPU time are the steadier
figures.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm
from yardstick import Yardstick

from icnet import checkpoint
from icnet.config import Config
from icnet.correlation import Cues
from icnet.images import decode, decode_gray, normalize, resize, scale_maps
from icnet.inference import Predictor, compile_parts, optimize
from icnet.loss import iou_loss
from icnet.model import ICNet

FAST_ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 34)}
KINDS = ("yardstick", "float32", "bf16", "float32 compiled", "bf16 compiled")
app = typer.Typer(help=__doc__, add_completion=False)


@app.command()
def inference(sizes: str = "5,10,20", repeats: int = 3, allocator: bool = False, compiled: bool = True) -> None:
    """Predict groups of each size."""
    kinds = [kind for kind in KINDS if compiled or not kind.endswith("compiled")]
    for n in map(int, sizes.split(",")):
        _compare("inference", kinds, n, repeats, allocator)


@app.command()
def training(images: int = 10, repeats: int = 3, allocator: bool = False, compiled: bool = False) -> None:
    """Steps of Adam on one group batch."""
    kinds = [kind for kind in KINDS if compiled or not kind.endswith("compiled")]
    _compare("training", kinds, images, repeats, allocator)


@app.command()
def group(images: int = 5000, size: int = 224, known: int = 0, predicted: int = 0) -> None:
    """Predict a group of generated images in two passes, in bf16.

    `known`: SIVs drawn at random instead of computed; `predicted`: images of the second pass; 0 means none and all.
    """
    torch.manual_seed(0)
    network = optimize(ICNet(Config(size=size, init="he")), torch.bfloat16)
    predictor = Predictor(network)
    starts = range(0, images - known, predictor.batch_size)
    begun = time.perf_counter()
    with torch.inference_mode():
        drawn = [
            torch.nn.functional.normalize(torch.randn(known, 2, block.shape[2]), dim=2)
            for block in predictor.intra_cues(*_generated(0, 1, size)).sivs
        ]
        own = predictor.gather_cues(lambda: (_generated(start, predictor.batch_size, size) for start in tqdm(starts)))
        cues = Cues.merge([own, Cues(tuple(drawn))])
        print(
            f"cues of {len(cues)} images after {time.perf_counter() - begun:.0f} s, peak {_peak():.0f} MB", flush=True
        )
        for start in tqdm(range(0, predicted or images, predictor.batch_size)):
            maps = predictor.predict(*_generated(start, predictor.batch_size, size), cues).maps
            assert torch.isfinite(maps).all()
    print(f"maps of {predicted or images} after {time.perf_counter() - begun:.0f} s, peak {_peak():.0f} MB")


@app.command()
def quality(weights: Annotated[Path, typer.Option("--checkpoint")], data: Path = Path("../shared/data/msrc")) -> None:
    """Max F-beta of the same checkpoint in float32 and in bf16; fails where they differ by more than 0.002."""
    network = checkpoint.load(weights)
    found = {name: _max_f(Predictor(optimize(network, dtype)), data) for name, dtype in _DTYPES.items()}
    difference = abs(found["float32"] - found["bf16"])
    print(*(f"{name}: max F {value:.4f}" for name, value in found.items()), f"difference {difference:.4f}", sep="\n")
    raise typer.Exit(int(difference > 0.002))


@app.command(hidden=True)
def one(task: str, kind: str, n: int) -> None:
    """One measurement in this process, as JSON."""
    torch.manual_seed(0)
    inputs = [part.to(DEVICE) for part in (torch.randn(n, 3, 224, 224), torch.rand(n, 1, 224, 224))]
    step = (_predicting if task == "inference" else _training)(kind, *inputs)
    for _ in range(2):
        step()
    times = [_timed(step) for _ in range(3)]
    clock, cpu = (1000 * min(column) / n for column in zip(*times, strict=True))
    held = torch.cuda.max_memory_allocated() / 1e6 if DEVICE.type == "cuda" else _peak()
    # Compiled convolutions have no entry in the counter; eager ones are the same sums.
    eager = _predicting if task == "inference" else _training
    with FlopCounterMode(display=False) as counter:
        eager(kind.split()[0], *inputs)()
    speed = counter.get_total_flops() / (clock / 1000 * n)
    print(json.dumps({"ms": clock, "cpu": cpu, "mb": held / n, "gflops": speed / 1e9}))


def _timed(step: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock and of CPU."""
    _wait()
    begun, spent = time.perf_counter(), time.process_time()
    step()
    _wait()
    return time.perf_counter() - begun, time.process_time() - spent


def _wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def _roof(dtype: torch.dtype) -> float:
    """Operations per second of a large matrix product."""
    side = 8192 if DEVICE.type == "cuda" else 2048
    left, right = (torch.randn(side, side, device=DEVICE, dtype=dtype) for _ in range(2))
    left @ right
    return 2 * side**3 / min(_timed(lambda: left @ right)[0] for _ in range(5))


DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
_DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}


def _compare(task: str, kinds: list[str], n: int, repeats: int, allocator: bool) -> None:
    environment = os.environ | (FAST_ALLOCATOR if allocator else {})
    found = {kind: [] for kind in kinds}
    for kind in kinds * repeats:
        command = [sys.executable, __file__, "one", task, kind, str(n)]
        answer = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
        found[kind].append(json.loads(answer.splitlines()[-1]))
    middle = {
        kind: {key: statistics.median(run[key] for run in runs) for key in ("ms", "cpu", "mb", "gflops")}
        for kind, runs in found.items()
    }
    fast = "MALLOC_MMAP_MAX_" in environment
    print(
        f"\n{task}, n = {n}, {DEVICE}, {torch.get_num_threads()} threads, {'fast' if fast else 'default'} allocator"
        " settings"
    )
    roofs = " and ".join(f"{_roof(dtype) / 1e9:.0f} in {name}" for name, dtype in _DTYPES.items())
    print(f"a large matrix product comes to {roofs} GFLOP/s")
    columns = f"{'clock ms':>9} {'CPU ms':>9} {'peak MB':>9} {'GFLOP/s':>9} {'times as fast: clock, CPU':>28}"
    print(f"{'per image':18} {columns}")
    plain = middle["yardstick"]
    for kind, one in middle.items():
        ratios = f"{plain['ms'] / one['ms']:20.2f} {plain['cpu'] / one['cpu']:7.2f}"
        print(
            f"{kind:18} {one['ms']:9.1f} {one['cpu']:9.1f} {one['mb']:9.0f} {one['gflops']:9.0f} {ratios}", flush=True
        )


def _predicting(kind: str, images: torch.Tensor, sisms: torch.Tensor) -> Callable[[], object]:
    if kind == "yardstick":
        run: Callable[..., object] = Yardstick().eval().to(DEVICE)
    else:
        network = optimize(ICNet(Config(init="he")).to(DEVICE), _DTYPES[kind.split()[0]])
        if kind.endswith("compiled"):
            compile_parts(network, **({"options": {"freezing": True}} if DEVICE.type == "cpu" else {}))
        run = Predictor(network, batch_size=4 if DEVICE.type == "cpu" else 40).predict

    def step() -> None:
        with torch.inference_mode():
            run(images, sisms)

    return step


def _training(kind: str, images: torch.Tensor, sisms: torch.Tensor) -> Callable[[], object]:
    network = Yardstick() if kind == "yardstick" else ICNet(Config(init="he")).to(memory_format=torch.channels_last)
    network.to(DEVICE)
    if kind.endswith("compiled"):
        compile_parts(network)
    optimizer = torch.optim.Adam(network.train().parameters(), lr=1e-5, weight_decay=1e-4)
    masks = (sisms > 0.5).float()
    precision = torch.autocast(DEVICE.type, torch.bfloat16) if kind.startswith("bf16") else nullcontext()

    def step() -> None:
        with precision:
            maps = network(images, sisms)
        loss = iou_loss(maps.float(), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _generated(start: int, n: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(start)
    return torch.randn(n, 3, size, size, generator=random), torch.rand(n, 1, size, size, generator=random)


def _max_f(predictor: Predictor, data: Path) -> float:
    """Max F-beta (beta^2 = 0.3) at the network's size, precision and recall averaged over the images, without Tree."""
    side = (predictor.model.config.size,) * 2
    curves = []
    for folder in tqdm(sorted(part for part in (data / "images").iterdir() if part.name != "tree")):
        files = sorted(folder.iterdir())
        images = np.stack([resize(decode(file.read_bytes()), side) for file in files])
        gray = {}
        for kind in ("sism_u2netp", "masks"):
            paths = [data / kind / folder.name / f"{file.stem}.png" for file in files]
            gray[kind] = np.stack([resize(decode_gray(path.read_bytes()), side) for path in paths])
        with torch.inference_mode():
            maps = predictor.predict(normalize(images), scale_maps(gray["sism_u2netp"])).maps
        curves += [_f_curve(*pair) for pair in zip(maps[:, 0], scale_maps(gray["masks"])[:, 0], strict=True)]
    return torch.stack(curves).mean(dim=0).max().item()


def _f_curve(found: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    level = (found * 255).floor().long().clamp(0, 255).flatten()
    hit = torch.bincount(level, mask.flatten(), minlength=256).flip(0).cumsum(0).flip(0)
    told = torch.bincount(level, minlength=256).flip(0).cumsum(0).flip(0)
    precision, recall = hit / (told + 1e-8), hit / (mask.sum() + 1e-8)
    return 1.3 * precision * recall / (0.3 * precision + recall + 1e-8)


def _peak() -> float:
    """MB of this process alone; getrusage would count a large parent's too."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1e3


if __name__ == "__main__":
    app()
