"""The HTTP endpoint under load, beside the bare network.

Clients post groups of photographs, each as soon as its last answer is there. The bare network predicts the same groups
in one process with as many threads as the replicas have together. With `--kill`, one replica is killed during the load.

    python -m benchmarks.serve docs/photographs --replicas 2 --clients 1 --clients 4
"""

import os
import signal
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import requests
import torch
import typer
from ray import serve

import icnet
from pipeline.serve.application import build

Group = list[bytes]

app = typer.Typer(help=__doc__, add_completion=False)


def read_groups(photos: Path, size: int) -> list[Group]:
    """Files of groups of at most `size` photographs."""
    groups = []
    for folder in sorted(one for one in photos.iterdir() if one.is_dir()):
        files = [file.read_bytes() for file in sorted(folder.iterdir())]
        groups += [files[start : start + size] for start in range(0, len(files), size)]
    return groups


def measure_bare(groups: Sequence[Group], threads: int) -> float:
    """Photographs/s of the network in this process, at the precision of the endpoint."""
    torch.set_num_threads(threads)
    network = icnet.load(device="cpu")
    network.predict(groups[0])
    started = time.perf_counter()
    for group in groups:
        network.predict(group)
    return sum(map(len, groups)) / (time.perf_counter() - started)


def post(address: str, group: Group) -> tuple[float, int]:
    """Seconds and status of one request."""
    started = time.perf_counter()
    parts = [("photographs", (f"{number}", content)) for number, content in enumerate(group)]
    answer = requests.post(f"{address}/maps", files=parts, timeout=600)
    return time.perf_counter() - started, answer.status_code


def kill_replica() -> None:
    """Kill one process that runs the network."""
    for process in psutil.process_iter(["cmdline"]):
        if "ServeReplica:maps:Network" in " ".join(process.info["cmdline"] or []):
            os.kill(process.pid, signal.SIGKILL)
            return
    raise SystemExit("there is no replica to kill")


def load_endpoint(address: str, groups: Sequence[Group], clients: int, kill: bool) -> None:
    """Print photographs/s, and the seconds of a request."""
    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        answers = [pool.submit(post, address, group) for group in groups]
        if kill:
            answers[0].result()
            kill_replica()
        found = [answer.result() for answer in answers]
    seconds = time.perf_counter() - started
    times = np.array([one for one, _ in found])
    lost = sum(status != 200 for _, status in found)
    rate, killed = sum(map(len, groups)) / seconds, "  (one replica killed)" if kill else ""
    p50, p99 = np.quantile(times, (0.5, 0.99))
    print(f"{clients:3d} clients  {rate:6.2f} photographs/s  p50 {p50:6.2f} s  p99 {p99:6.2f} s{killed}")
    print(f"     {lost} of {len(found)} requests lost")


@app.command()
def main(
    photos: Annotated[Path, typer.Argument(help="a folder with a folder for each group")],
    replicas: Annotated[int, typer.Option(min=1)] = 2,
    clients: Annotated[list[int] | None, typer.Option(min=1)] = None,
    requests_each: Annotated[int, typer.Option(min=1, help="requests of each measurement")] = 16,
    size: Annotated[int, typer.Option(min=1, help="largest group")] = 6,
    kill: Annotated[bool, typer.Option(help="kill a replica in the last measurement")] = False,
) -> None:
    """Measure the bare network, then the endpoint with each number of clients."""
    groups = list(islice(cycle(read_groups(photos, size)), requests_each))
    bare = measure_bare(groups, replicas)
    print(f"bare network, {replicas} threads  {bare:6.2f} photographs/s")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(build({"num_replicas": replicas, "num_cpus": 1}), name="maps", route_prefix="/")
    address, numbers = f"http://127.0.0.1:{port}", clients or [1, 4]
    for _ in range(replicas):
        post(address, groups[0])
    for number in numbers:
        load_endpoint(address, groups, number, kill and number == numbers[-1])
    serve.shutdown()


if __name__ == "__main__":
    app()
