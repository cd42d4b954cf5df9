"""A stage in a process of its own: how long it took, how fast it ran, and what its processes held at their peak."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from pipeline import tables


def run(code: str) -> float:
    """Seconds that Python code takes. Raises SystemExit with its last words where it fails."""
    began = time.perf_counter()
    _finish(_start(code))
    return time.perf_counter() - began


def watched(code: str) -> tuple[float, int]:
    """Seconds, and the peak of proportional memory, in bytes, of the process and its children.

    Looking costs a tenth of a core: not for measuring speed. Raises SystemExit as `run` does.
    """
    began, peak = time.perf_counter(), [0]
    process = _start(code)
    threading.Thread(target=_watch, args=(process, peak), daemon=True).start()
    _finish(process)
    return time.perf_counter() - began, peak[0]


def steady(folder: Path, actors: int) -> float:
    """Images/s of the stage that wrote a table by so many actors, once each of them has written its first shard."""
    shards = tables.load_manifest(folder)["shards"]
    ends = sorted(((folder / shard["file"]).stat().st_mtime_ns, shard["rows"]) for shard in shards)
    return sum(rows for _, rows in ends[actors:]) / (ends[-1][0] - ends[actors - 1][0]) * 1e9


def _start(code: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def _finish(process: subprocess.Popen) -> None:
    words = process.communicate()[0]
    if process.returncode:
        raise SystemExit(words.decode()[-2000:])


def _watch(process: subprocess.Popen, peak: list[int]) -> None:
    while process.poll() is None:
        try:
            members = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        peak[0] = max(peak[0], sum(map(_held, members)))
        time.sleep(0.5)


def _held(member: psutil.Process) -> int:
    try:
        return member.memory_full_info().pss
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
