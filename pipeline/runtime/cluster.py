"""The Ray cluster that a stage runs on: the one that RAY_ADDRESS names, else this machine."""

import logging
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# Ray computes in threads, and what glibc keeps for threads apart from the first goes back to the system after each use.
os.environ.setdefault("MALLOC_ARENA_MAX", "1")

import ray
import torch

SIOCGIFADDR = 0x8915
"""Linux's question for an interface's address."""

MIN_CPU_SLOTS = 4
"""A Ray Data stream needs a slot for its reader beside its actors, also on a machine of one or two cores."""

FORWARDED_ENV_VARS = ("MALLOC_ARENA_MAX", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")
"""Variables that the workers of a cluster get from the driver. Keys are none of them: Ray would show them, so the
machines have their own."""


@contextmanager
def connect() -> Iterator[None]:
    """Join the cluster of RAY_ADDRESS or start one on this machine, and leave it at the end."""
    started = not ray.is_initialized()
    if started:
        _start_ray()
    silence_ray_data()
    try:
        yield
    finally:
        if started:
            ray.shutdown()


def _start_ray() -> None:
    if os.environ.get("RAY_ADDRESS"):
        os.environ.setdefault("RAY_OVERRIDE_JOB_RUNTIME_ENV", "1")  # the job that runs this may name them too
        handed = {name: os.environ[name] for name in FORWARDED_ENV_VARS if name in os.environ}
        ray.init(logging_level=logging.ERROR, runtime_env={"env_vars": handed})
        return
    ray.init(
        address="local",
        num_cpus=max(MIN_CPU_SLOTS, os.cpu_count() or 1),
        include_dashboard=False,
        logging_level=logging.ERROR,
    )


def silence_ray_data() -> None:
    """Ray Data's own bars off: a stage shows one bar in the units that its user thinks in."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def count_gpus() -> int:
    """Whole GPUs in the cluster."""
    return int(ray.cluster_resources().get("GPU", 0))


def count_cores() -> int:
    """Cores that the cluster computes on: its CPU slots, but no more than this machine has where it is alone."""
    slots = int(ray.cluster_resources().get("CPU", 1))
    alone = len([node for node in ray.nodes() if node["Alive"]]) == 1
    return min(slots, len(os.sched_getaffinity(0))) if alone else slots


def set_gloo_interface() -> None:
    """Have torch's process groups on this worker use the network interface that Ray's address of it belongs to."""
    import fcntl  # here, as Windows has none

    address = ray.util.get_node_ip_address()
    for _, interface in socket.if_nameindex():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            try:
                found = fcntl.ioctl(asked, SIOCGIFADDR, struct.pack("256s", interface.encode()))
            except OSError:  # an interface without an address
                continue
        if socket.inet_ntoa(found[20:24]) == address:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)


def get_device() -> torch.device:
    """The device that Ray gave to this worker."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
