"""How fast stage index is: images/s with their masks, against one loop that only reads the files, and its memory.

    python benchmarks/index.py --images 100000

The collection is hard links to a few real-sized files, so the disk's cache serves both sides: what is measured is the
stage's own work. Compare the columns of one run, not runs of different machines.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import typer
from PIL import Image

from pipeline import tables
from pipeline.index.config import IndexConfig
from pipeline.index.layouts import Dataset
from pipeline.index.stage import scan_collection

KINDS = 16
GROUP = 1000


def write(root: Path, images: int) -> None:
    """A collection of `images` JPEGs of 375 x 500 px and their masks in groups of 1000."""
    random, pool = np.random.default_rng(0), root / "pool"
    pool.mkdir(parents=True)
    for kind in range(KINDS):
        coarse = Image.fromarray(random.integers(0, 256, (25, 33, 3), dtype=np.uint8))
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(pool / f"{kind}.jpg", quality=90)
        coarse.convert("L").point(lambda value: 255 * (value > 128)).resize((500, 375)).save(pool / f"{kind}.png")
    for first in range(0, images, GROUP):
        for folder, suffix in (("images", "jpg"), ("masks", "png")):
            group = root / folder / f"group {first // GROUP:05d}"
            group.mkdir(parents=True)
            for number in range(first, min(first + GROUP, images)):
                os.link(pool / f"{number % KINDS}.{suffix}", group / f"{number:08d}.{suffix}")


def loop(root: Path) -> tuple[float, float]:
    """Seconds, and CPU seconds, to read every file once, one after another, and do nothing with it."""
    began, busy = time.perf_counter(), time.process_time()
    for folder in ("images", "masks"):
        for group in os.scandir(root / folder):
            for file in os.scandir(group.path):
                Path(file.path).read_bytes()
    return time.perf_counter() - began, time.process_time() - busy


def stage(root: Path, threads: int) -> None:
    """Run the stage in this process; prints seconds, CPU seconds, seconds of writing, and peak memory in MB."""
    config = IndexConfig(num_threads=threads)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, busy = time.perf_counter(), time.process_time()
    found = scan_collection(root, Dataset(root=str(root)), config)
    table, scanned, busy = found.make_table(), time.perf_counter(), time.process_time() - busy
    tables.write_table(root / "out", table, found.rejects)
    written = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(scanned - began, busy, written - scanned, (peak - before) / 1024)


def main(images: int = 100_000, threads: str = "1,8", root: Path | None = None) -> None:
    """Print the table; with ROOT only the stage runs, as this script does for itself."""
    if root is not None:
        stage(root, int(threads))
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "collection"
        write(root, images)
        loop(root)
        alone, alone_busy = loop(root)
        print(f"{images} images and masks; reading them alone: {images / alone:.0f} images/s, ", end="")
        print(f"{1000 * alone_busy / images:.3f} ms CPU an image")
        for count in threads.split(","):
            command = [sys.executable, __file__, "--threads", count, "--root", str(root)]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            scan, busy, write_out, peak = map(float, output.split()[-4:])
            print(
                f"{count} threads: {images / scan:.0f} images/s, {1000 * busy / images:.3f} ms CPU an image "
                f"({busy / scan:.1f} cores used), table written in {write_out:.1f} s, {peak:.0f} MB more than at "
                f"the start; a million: {1e6 * (scan + write_out) / images / 60:.1f} min"
            )


if __name__ == "__main__":
    typer.run(main)
