"""Speed and memory of stage sism.

Speed: images/s of the stage on all cores, once each actor has written a shard, against a plain loop over the same
files in one process on one core times the cores.
Memory: what the stage's processes hold at their peak for N and for 10 N images.

    python -m benchmarks.sism speed data/demo/train --method gc --images 2000
    python -m benchmarks.sism memory data/demo/train --method ones --images 2000
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import torch
import typer

from benchmarks import processes
from icnet import images, sod
from pipeline import tables

SIZE = 224
app = typer.Typer(add_completion=False)


def repeat(root: Path, count: int, folder: Path) -> Path:
    """An index of `count` images in groups of 40: the collection's good files, again and again under new names."""
    files = sorted(file for file in (root / "images").rglob("*") if file.is_file())
    good = [(file, images.read_size(file.read_bytes())) for file in files if _decodes(file)]
    rows = []
    for number in range(count):
        file, (height, width) = good[number % len(good)]
        rows.append(
            {
                "group": f"g{number // 40:06d}",
                "name": f"{number:08d}",
                "image": file.relative_to(root).as_posix(),
                "height": height,
                "width": width,
                "bytes": file.stat().st_size,
                "image_digest": tables.digest_file(file.read_bytes()),
            }
        )
    tables.write_table(folder, pa.Table.from_pylist(rows, schema=tables.INDEX), [], root=str(root))
    return folder


def _decodes(file: Path) -> bool:
    try:
        images.decode(file.read_bytes())
    except images.ImageError:
        return False
    return True


def loop(root: Path, index: Path, method: str) -> float:
    """Seconds an image of a plain loop in one process on one core."""
    torch.set_num_threads(1)
    detect, rows = sod.make_method(method), tables.read_table(index).to_pylist()
    began = time.perf_counter()
    for row in rows:
        picture = images.decode((root / row["image"]).read_bytes())
        images.encode(images.resize(picture, (SIZE, SIZE)))
        images.encode(images.resize(images.quantize(detect(picture)), (SIZE, SIZE)))
    return (time.perf_counter() - began) / len(rows)


def stage(index: Path, samples: Path, method: str, shard: int) -> str:
    """Code that runs the stage, for `processes`."""
    return (
        "from pathlib import Path; from pipeline.sism.config import SismConfig; "
        "from pipeline.sism.stage import make_samples; "
        f"config = SismConfig(method={method!r}, shard_size={shard}); "
        f"make_samples(Path({str(index)!r}), Path({str(samples)!r}), config, {SIZE})"
    )


@app.command()
def speed(
    root: Path,
    method: Annotated[str, typer.Option()] = "gc",
    count: Annotated[int, typer.Option("--images")] = 2000,
    shard: Annotated[int, typer.Option()] = 16,
) -> None:
    """Images/s of the stage against a plain loop times the cores."""
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        few, many = (repeat(root, size, place / f"index{size}") for size in (count // 8, count))
        plain = loop(root, few, method)
        seconds = processes.run_code(stage(many, place / "out", method, shard))
        plain = (plain + loop(root, few, method)) / 2
        found = processes.measure_steady_rate(place / "out", cores)
    print(f"{method}, {cores} cores, {count} images, shards of {shard}")
    print(f"plain loop   {1 / plain:8.1f} images/s a core, {cores / plain:8.1f} on {cores}")
    print(f"stage        {found:8.1f} images/s, start-up and end {seconds - count / found:.1f} s apart")
    print(f"ratio        {plain * found / cores:8.2f}")


@app.command()
def memory(
    root: Path,
    method: Annotated[str, typer.Option()] = "ones",
    count: Annotated[int, typer.Option("--images")] = 2000,
    shard: Annotated[int, typer.Option()] = 64,
) -> None:
    """Peak memory of the stage for `images` and for ten times as many."""
    with tempfile.TemporaryDirectory() as folder:
        peaks = []
        for size in (count, 10 * count):
            index = repeat(root, size, Path(folder) / f"index{size}")
            seconds, peak = processes.run_code_with_memory(stage(index, Path(folder) / f"out{size}", method, shard))
            peaks.append(peak)
            print(f"{size:8d} images: {peak / 1e6:8.0f} MB at the peak, {seconds:.0f} s")
    print(f"ratio {peaks[1] / peaks[0]:.2f}")


if __name__ == "__main__":
    app()
