"""Speed and memory of the network with each backbone, beside the yardstick: the paper's network, written plainly.

    python benchmarks/model.py inference --sizes 5,10,20     images/s and peak memory
    python benchmarks/model.py training                      training steps on ten images
    python benchmarks/model.py training --formats            the same, also with contiguous tensors
    python benchmarks/model.py group --images 5000           a large group in two passes: peak memory
    python benchmarks/model.py quality --checkpoint FILE     max F of float32 and bf16 on ../shared/data/msrc

Every measurement has its own process. They alternate, and medians of the repeats are printed. The yardstick runs with
the allocator settings of the shell, as the authors' program would; `--allocator` gives all of them the fast settings.
On a busy machine, OMP_NUM_THREADS=1 and the column of CPU time are the most reliable figures.
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
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm
from yardstick import Yardstick

from icnet import checkpoint
from icnet.config import Config
from icnet.correlation import Cues
from icnet.hardware import has_fast_bf16
from icnet.images import decode, decode_gray, normalize, resize, scale_maps
from icnet.inference import Predictor, compile_parts, optimize
from icnet.loss import iou_loss
from icnet.model import ICNet

FAST_ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 34)}
BACKBONES: dict[str, dict[str, Any]] = {
    "vgg16": {},
    "dinov2_vits14": {"backbone": "dinov2_vits14", "similarity_maps": True, "residual_maps": True},
}
YARDSTICK = "yardstick"
app = typer.Typer(help=__doc__, add_completion=False)


def list_kinds(backbones: str, more: dict[str, bool]) -> list[str]:
    """The networks to compare: the yardstick, and `<backbone> <precision>`, alone and with each mode of `more`.

    bf16 is among the precisions if this machine has it in hardware.
    """
    precisions = list_precisions()
    modes = [
        *precisions,
        *(f"{precision} {mode}" for mode, wanted in more.items() for precision in precisions if wanted),
    ]
    return [YARDSTICK, *(f"{backbone} {mode}" for backbone in backbones.split(",") for mode in modes)]


def list_precisions() -> list[str]:
    """The precisions of this machine; bf16 takes minutes where the processor emulates it."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return [name for name in DTYPES if name != "bf16" or has_fast_bf16(device)]


@app.command()
def inference(
    sizes: str = "5,10,20",
    repeats: int = 3,
    allocator: bool = False,
    compiled: bool = True,
    backbones: str = ",".join(BACKBONES),
) -> None:
    """Predict groups of each size."""
    for n in map(int, sizes.split(",")):
        compare("inference", list_kinds(backbones, {"compiled": compiled}), n, repeats, allocator)


@app.command()
def training(
    images: int = 10,
    repeats: int = 3,
    allocator: bool = False,
    compiled: bool = False,
    formats: bool = False,
    backbones: str = ",".join(BACKBONES),
) -> None:
    """Steps of Adam on one batch of a group; with `formats`, also with contiguous tensors."""
    modes = {"compiled": compiled, "contiguous": formats}
    compare("training", list_kinds(backbones, modes), images, repeats, allocator)


@app.command()
def group(images: int = 5000, size: int = 224, known: int = 0, predicted: int = 0) -> None:
    """Predict a group of generated images in two passes, in bf16.

    `known`: SIVs drawn at random instead of computed; `predicted`: images of the second pass; 0 means none and all.
    """
    torch.manual_seed(0)
    network = optimize(ICNet(Config(size=size, init="he")), torch.bfloat16)
    predictor = Predictor(network)
    starts = range(0, images - known, predictor.batch_size)
    started = time.perf_counter()
    with torch.inference_mode():
        drawn = [
            torch.nn.functional.normalize(torch.randn(known, 2, block.shape[2]), dim=2)
            for block in predictor.intra_cues(*make_inputs(0, 1, size)).sivs
        ]
        own = predictor.gather_cues(lambda: (make_inputs(start, predictor.batch_size, size) for start in tqdm(starts)))
        cues = Cues.merge([own, Cues(tuple(drawn))])
        print(
            f"cues of {len(cues)} images after {time.perf_counter() - started:.0f} s, peak {read_peak_memory():.0f} MB",
            flush=True,
        )
        for start in tqdm(range(0, predicted or images, predictor.batch_size)):
            maps = predictor.predict(*make_inputs(start, predictor.batch_size, size), cues).maps
            assert torch.isfinite(maps).all()
    print(
        f"maps of {predicted or images} after {time.perf_counter() - started:.0f} s, peak {read_peak_memory():.0f} MB"
    )


@app.command()
def quality(weights: Annotated[Path, typer.Option("--checkpoint")], data: Path = Path("../shared/data/msrc")) -> None:
    """Max F-beta of the same checkpoint in float32 and in bf16; fails where they differ by more than 0.002."""
    network = checkpoint.load(weights)
    found = {name: compute_max_f(Predictor(optimize(network, dtype)), data) for name, dtype in DTYPES.items()}
    difference = abs(found["float32"] - found["bf16"])
    print(*(f"{name}: max F {value:.4f}" for name, value in found.items()), f"difference {difference:.4f}", sep="\n")
    raise typer.Exit(int(difference > 0.002))


@app.command(hidden=True)
def one(task: str, kind: str, n: int) -> None:
    """One measurement in this process, as JSON."""
    torch.manual_seed(0)
    inputs = [part.to(DEVICE) for part in (torch.randn(n, 3, 224, 224), torch.rand(n, 1, 224, 224))]
    make = make_prediction if task == "inference" else make_training_step
    step = make(kind, *inputs)
    for _ in range(2):
        step()
    seconds, cpu_seconds = (min(column) for column in zip(*(measure_time(step) for _ in range(3)), strict=True))
    memory = torch.cuda.max_memory_allocated() / 1e6 if DEVICE.type == "cuda" else read_peak_memory()
    # The counter does not know compiled convolutions; the same network without compilation does the same operations.
    with FlopCounterMode(display=False) as counter:
        make(kind.removesuffix(" compiled"), *inputs)()
    gflop = counter.get_total_flops() / n / 1e9
    print(json.dumps({"rate": n / seconds, "cpu": 1000 * cpu_seconds / n, "mb": memory, "gflop": gflop}))


def measure_time(step: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock and of CPU."""
    synchronize()
    started, cpu_started = time.perf_counter(), time.process_time()
    step()
    synchronize()
    return time.perf_counter() - started, time.process_time() - cpu_started


def synchronize() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def measure_peak(dtype: torch.dtype) -> float:
    """Operations per second of a large matrix product."""
    side = 8192 if DEVICE.type == "cuda" else 2048
    left, right = (torch.randn(side, side, device=DEVICE, dtype=dtype) for _ in range(2))
    left @ right
    return 2 * side**3 / min(measure_time(lambda: left @ right)[0] for _ in range(5))


DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}


def compare(task: str, kinds: list[str], n: int, repeats: int, allocator: bool) -> None:
    """Measure each kind of network `repeats` times, and print the medians."""
    environment = os.environ | (FAST_ALLOCATOR if allocator else {})
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    for kind in kinds * repeats:
        command = [sys.executable, __file__, "one", task, kind, str(n)]
        answer = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
        runs[kind].append(json.loads(answer.splitlines()[-1]))
    medians = {
        kind: {key: statistics.median(run[key] for run in found) for key in found[0]} for kind, found in runs.items()
    }
    settings = "fast" if "MALLOC_MMAP_MAX_" in environment else "default"
    print(f"\n{task}, n = {n}, {DEVICE}, {torch.get_num_threads()} threads, {settings} allocator settings")
    peaks = " and ".join(f"{measure_peak(DTYPES[name]) / 1e9:.0f} in {name}" for name in list_precisions())
    print(f"GFLOP/s of a large matrix product: {peaks}")
    print(f"{'':32}{'images/s':>9}{'CPU ms/image':>14}{'GFLOP/image':>13}{'peak MB':>9}{'speed-up: clock, CPU':>22}")
    plain = medians[YARDSTICK]
    for kind, row in medians.items():
        speed_up = f"{row['rate'] / plain['rate']:14.2f}{plain['cpu'] / row['cpu']:8.2f}"
        print(
            f"{kind:32}{row['rate']:9.2f}{row['cpu']:14.1f}{row['gflop']:13.1f}{row['mb']:9.0f}{speed_up}", flush=True
        )


def make_prediction(kind: str, images: torch.Tensor, sisms: torch.Tensor) -> Callable[[], object]:
    """A function that predicts the group once."""
    if kind == YARDSTICK:
        run: Callable[..., object] = Yardstick().eval().to(DEVICE)
    else:
        backbone, precision, *mode = kind.split()
        network = ICNet(Config(**BACKBONES[backbone], init="he")).to(DEVICE)
        network = optimize(network, DTYPES[precision])
        if mode:
            compile_parts(network, **({"options": {"freezing": True}} if DEVICE.type == "cpu" else {}))
        run = Predictor(network, batch_size=4 if DEVICE.type == "cpu" else 40).predict

    def step() -> None:
        with torch.inference_mode():
            run(images, sisms)

    return step


def make_training_step(kind: str, images: torch.Tensor, sisms: torch.Tensor) -> Callable[[], object]:
    """A function that trains one step of Adam."""
    backbone, precision, *mode = kind.split() if kind != YARDSTICK else (kind, "float32")
    if kind == YARDSTICK:
        network: Yardstick | ICNet = Yardstick()
    else:
        network = ICNet(Config(**BACKBONES[backbone], init="he"))
        network.channels_last = mode != ["contiguous"]
        network.to(memory_format=torch.channels_last if network.channels_last else torch.contiguous_format)
        if mode == ["compiled"]:
            compile_parts(network)
    network.to(DEVICE)
    trained = [parameter for parameter in network.train().parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=1e-5, weight_decay=1e-4)
    masks = (sisms > 0.5).float()
    autocast = torch.autocast(DEVICE.type, torch.bfloat16) if precision == "bf16" else nullcontext()

    def step() -> None:
        with autocast:
            maps = network(images, sisms)
        loss = iou_loss(maps.float(), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def make_inputs(start: int, n: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(start)
    return torch.randn(n, 3, size, size, generator=random), torch.rand(n, 1, size, size, generator=random)


def compute_max_f(predictor: Predictor, data: Path) -> float:
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
        curves += [compute_f_curve(*pair) for pair in zip(maps[:, 0], scale_maps(gray["masks"])[:, 0], strict=True)]
    return torch.stack(curves).mean(dim=0).max().item()


def compute_f_curve(found: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    level = (found * 255).floor().long().clamp(0, 255).flatten()
    hit = torch.bincount(level, mask.flatten(), minlength=256).flip(0).cumsum(0).flip(0)
    above = torch.bincount(level, minlength=256).flip(0).cumsum(0).flip(0)
    precision, recall = hit / (above + 1e-8), hit / (mask.sum() + 1e-8)
    return 1.3 * precision * recall / (0.3 * precision + recall + 1e-8)


def read_peak_memory() -> float:
    """MB of this process alone; getrusage would count a large parent's too."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1e3


if __name__ == "__main__":
    app()
