"""Run a stage in its own process: its duration, its speed, and the peak memory of its processes."""

import multiprocessing
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from pipeline import tables


def run_code(code: str) -> float:
    """Run Python code in a new process; returns seconds. Raises SystemExit with the end of its output if it fails."""
    started = time.perf_counter()
    _wait(_start(code))
    return time.perf_counter() - started


def run_code_with_memory(code: str) -> tuple[float, int]:
    """Run Python code in a new process; returns seconds and the peak memory (PSS, bytes) of it and its children.

    Sampling takes a tenth of a core, so do not use it to measure speed. Raises SystemExit as `run_code` does.
    """
    started, samples = time.perf_counter(), [0]
    process = _start(code)
    threading.Thread(target=_sample_memory, args=(process, samples), daemon=True).start()
    _wait(process)
    return time.perf_counter() - started, max(samples)


def run_together(target: Callable[..., None], arguments: Sequence[tuple[Any, ...]]) -> list[float]:
    """Start one process for each tuple of arguments; returns the number that each puts into the queue.

    `target` also gets a barrier, at which all processes wait for each other, and the queue.
    """
    context = multiprocessing.get_context("spawn")
    barrier, numbers = context.Barrier(len(arguments)), context.Queue()
    workers = [context.Process(target=target, args=(*given, barrier, numbers)) for given in arguments]
    for worker in workers:
        worker.start()
    found = [numbers.get() for _ in workers]
    for worker in workers:
        worker.join()
    return found


def measure_steady_rate(table: Path, num_actors: int) -> float:
    """Images/s of the stage that wrote a table, from the time when each actor has written its first shard.

    Raises SystemExit if there are no more shards than actors: all are then first shards.
    """
    shards = tables.load_manifest(table)["shards"]
    if len(shards) <= num_actors:
        raise SystemExit(f"{table} has too few shards for {num_actors} processes, {len(shards)}: take more images")
    ends = sorted(((table / shard["file"]).stat().st_mtime_ns, shard["rows"]) for shard in shards)
    return sum(rows for _, rows in ends[num_actors:]) / (ends[-1][0] - ends[num_actors - 1][0]) * 1e9


def _start(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def _wait(process: subprocess.Popen[bytes]) -> None:
    output = process.communicate()[0]
    if process.returncode:
        raise SystemExit(output.decode()[-2000:])


def _sample_memory(process: subprocess.Popen[bytes], samples: list[int]) -> None:
    while process.poll() is None:
        try:
            parent = psutil.Process(process.pid)
            members = [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        samples.append(sum(map(_get_memory, members)))
        time.sleep(0.5)


def _get_memory(member: psutil.Process) -> int:
    try:
        return member.memory_full_info().pss
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
