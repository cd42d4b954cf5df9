"""The Ray cluster that a stage runs on: the one that RAY_ADDRESS names, else one on this machine."""

import logging
import os
import secrets
import shutil
import signal
import socket
import stat
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# Ray computes in threads. With one arena for all of them, glibc keeps freed memory instead of giving it back each time.
os.environ.setdefault("MALLOC_ARENA_MAX", "1")
# Ray would repeat for ever what it kills to free memory.
os.environ.setdefault("RAY_task_oom_retries", "2")

import ray
from ray._private import ray_constants

from pipeline.runtime.standard_error import drop_unimportant_lines

LOOPBACK = "127.0.0.1"

MAX_TEMPORARY_PATH = 28
"""Characters. The path of a Unix socket may have 107, of which Ray takes 79 below the temporary folder."""

SIOCGIFADDR = 0x8915
"""Linux's request for the address of a network interface."""

MIN_CPU_SLOTS = 4
"""A Ray Data stream needs a slot for its reader beside its actors, also on a machine of one or two cores."""

FORWARDED_ENV_VARS = ("MALLOC_ARENA_MAX", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")
"""Variables that the workers of a cluster get from the driver. Ray shows them to everyone, so no keys are among them:
the machines have their own."""


@contextmanager
def connect() -> Iterator[None]:
    """Join the cluster of RAY_ADDRESS, or start one on this machine, and leave it at the end.

    A cluster on this machine listens on the loopback only. Its files are in a new folder below the system's
    temporary folder, and are removed at the end.
    """
    if ray.is_initialized():
        silence_ray_data()
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    folder = None if os.environ.get("RAY_ADDRESS") else tempfile.mkdtemp(prefix="ray-", dir=_find_temporary_folder())
    try:
        with drop_unimportant_lines():
            try:
                _join_cluster() if folder is None else _start_cluster(folder)
                if threading.current_thread() is threading.main_thread():
                    signal.signal(signal.SIGTERM, handler)  # Ray's handler skips the clean-up of the stage
                silence_ray_data()
                yield
            finally:
                ray.shutdown()
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _join_cluster() -> None:
    os.environ.setdefault("RAY_OVERRIDE_JOB_RUNTIME_ENV", "1")  # the job that runs this may name them too
    forwarded = {name: os.environ[name] for name in FORWARDED_ENV_VARS if name in os.environ}
    ray.init(logging_level=logging.ERROR, runtime_env={"env_vars": forwarded})


def _start_cluster(folder: str) -> None:
    _protect_token()
    # Ray takes the loopback only where it cannot be part of a cluster of several machines. The variable is for the
    # processes that it starts; in this one Ray has read it already.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False
    ray.init(
        address="local",
        num_cpus=max(MIN_CPU_SLOTS, os.cpu_count() or 1),
        include_dashboard=False,
        logging_level=logging.ERROR,
        _node_ip_address=LOOPBACK,
        _temp_dir=folder,
    )


def _find_temporary_folder() -> str:
    """Where Ray's files go, and objects that do not fit into memory: RAY_TMPDIR, else TMPDIR, if it is short enough."""
    folder = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    return folder if len(folder) <= MAX_TEMPORARY_PATH else "/tmp"


def _protect_token() -> None:
    """Let only this user read the token of local clusters, which Ray would write readable for all."""
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    file = Path.home() / ".ray" / "auth_token"
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        own = file.with_name(f".{secrets.token_hex(16)}")
        with os.fdopen(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
            handle.write(secrets.token_hex(32))
        with suppress(FileExistsError):
            os.link(own, file)  # whole or not at all, as another process may read it now
        own.unlink()
    if file.stat().st_uid == os.getuid() and stat.S_IMODE(file.stat().st_mode) & 0o077:
        file.chmod(0o600)


def silence_ray_data() -> None:
    """Switch the progress bars of Ray Data off: a stage shows one bar, which counts images."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what fails is raised or a reject


def count_gpus() -> int:
    """Whole GPUs in the cluster."""
    return int(ray.cluster_resources().get("GPU", 0))


def count_cores() -> int:
    """Cores that the cluster computes on: its CPU slots, at most the cores of this machine if it is the only one."""
    slots = int(ray.cluster_resources().get("CPU", 1))
    only_one = len([node for node in ray.nodes() if node["Alive"]]) == 1
    return min(slots, len(os.sched_getaffinity(0))) if only_one else slots


def list_memory() -> list[int]:
    """Bytes of main memory that Ray gives out on each machine."""
    return [int(node["Resources"].get("memory", 0)) for node in ray.nodes() if node["Alive"]]


def set_network_interface() -> None:
    """Let torch's process groups on this worker use the network interface with the address that Ray has for it."""
    import fcntl  # not on Windows

    address = ray.util.get_node_ip_address()
    for _, interface in socket.if_nameindex():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                found = fcntl.ioctl(probe, SIOCGIFADDR, struct.pack("256s", interface.encode()))
            except OSError:  # an interface without an address
                continue
        if socket.inet_ntoa(found[20:24]) == address:
            for library in ("GLOO", "NCCL"):
                os.environ.setdefault(f"{library}_SOCKET_IFNAME", interface)
