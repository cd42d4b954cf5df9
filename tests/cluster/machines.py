"""Machines of a Ray cluster on this one: network namespaces with addresses and temporary folders of their own.

Each has its own loopback, its own /tmp/ray and /dev/shm, one core, and dies with all its processes at once. They share
the disk, as machines of a cluster do that mount one. It takes root, as namespaces do.
"""

import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.helpers.checkout import BIN

NETWORK, PREFIX, BRIDGE = "10.213.77", "icnet", "icnet-br"
TOKEN = secrets.token_hex(32)


def ip(*arguments: str) -> str:
    """One command of iproute2."""
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


class Machine:
    """One machine: a namespace with an address, and the processes in it."""

    def __init__(self, number: int, folder: Path, checkout: Path, environment: dict[str, str]) -> None:
        self.name, self.address = f"{PREFIX}{number}", f"{NETWORK}.{number}"
        self.folder, self.checkout = folder, checkout
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_", "DVC_"))},
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PYTHONPATH": str(checkout),
            "RAY_USAGE_STATS_ENABLED": "0",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "OMP_NUM_THREADS": "1",
            "RAY_memory_monitor_refresh_ms": "0",  # the machines share one memory, with whatever else runs
            "RAY_raylet_start_wait_time_s": "300",  # and two cores
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": TOKEN,
            **environment,
        }
        self.started: list[subprocess.Popen] = []
        ip("netns", "add", self.name)
        ip("link", "add", self.name, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        ip("link", "set", self.name, "master", BRIDGE, "up")
        ip("-n", self.name, "addr", "add", f"{self.address}/24", "dev", "eth0")
        ip("-n", self.name, "link", "set", "eth0", "up")
        ip("-n", self.name, "link", "set", "lo", "up")

    def run(self, command: str, log: str, cores: str = "0,1") -> subprocess.Popen:
        """Start a command in this machine, whose first one gets it folders of its own where Ray keeps sockets and
        objects."""
        command = f"exec taskset -c {cores} {command}"
        here = next((process.pid for process in self.started if process.poll() is None), None)
        if here is None:
            place = ["ip", "netns", "exec", self.name]
            command = f"mkdir -p /tmp/ray; mount -t tmpfs tmpfs /tmp/ray; mount -t tmpfs tmpfs /dev/shm; {command}"
        else:
            place = ["nsenter", f"--target={here}", "--mount", "--net", f"--wdns={self.checkout}"]
        with (self.folder / log).open("ab") as out:
            process = subprocess.Popen(
                [*place, "sh", "-c", command],
                cwd=self.checkout,
                env=self.environment,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def runs(self, name: str) -> bool:
        """Whether a Ray worker that computes `name` lives on this machine."""
        for process in ip("netns", "pids", self.name).split():
            try:
                if name in Path(f"/proc/{process}/cmdline").read_text():
                    return True
            except OSError:
                continue
        return False

    def kill(self, silently: bool = False) -> None:
        """All processes of the machine end at once; `silently`: nothing goes out of it any more, not even that."""
        if silently:
            ip("-n", self.name, "link", "set", "eth0", "down")
        end(self.name)
        for process in self.started:
            process.wait()
        self.started.clear()


class Cluster:
    """A head without slots and workers with one slot each, on machines of their own."""

    def __init__(self, folder: Path, checkout: Path, workers: int, environment: dict[str, str] | None = None) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        clear()
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("addr", "add", f"{NETWORK}.254/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        self.machines = [Machine(n, folder, checkout, environment or {}) for n in range(1, workers + 2)]
        self.head, *self.workers = self.machines

    @property
    def address(self) -> str:
        """Where Ray's head listens."""
        return f"{self.head.address}:6379"

    @property
    def dashboard(self) -> str:
        """Where jobs are submitted."""
        return f"http://{self.head.address}:8265"

    def start(self) -> None:
        """Start Ray everywhere, and wait until every machine is there."""
        options = "--num-cpus=0 --dashboard-host=0.0.0.0 --block --disable-usage-stats"
        self.head.run(f"ray start --head --node-ip-address={self.head.address} --port=6379 {options}", "head.log")
        self.wait_for(0)
        for machine in self.workers:
            self.join(machine)
        self.wait_for(len(self.workers))

    def join(self, machine: Machine) -> None:
        """A machine joins the cluster, for the first time or again after its death."""
        ip("-n", machine.name, "link", "set", "eth0", "up")
        address = f"--address={self.address} --node-ip-address={machine.address}"
        machine.run(f"ray start {address} --num-cpus=1 --block --disable-usage-stats", f"{machine.name}.log", "0")

    def wait_for(self, workers: int, seconds: int = 120) -> None:
        """Wait until so many workers beside the head are alive."""
        for _ in range(seconds):
            if self.alive() == workers + 1:
                return
            time.sleep(1)
        raise AssertionError(f"{self.alive()} machines of {workers + 1} are there; see {self.folder}")

    def alive(self) -> int:
        """Machines that Ray's head knows to be alive."""
        code = (
            "from ray._raylet import GcsClient\n"
            f"nodes = GcsClient(address={self.address!r}).get_all_node_info().values()\n"
            "print(sum(node.state == 0 for node in nodes))"
        )
        asked = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=self.head.environment
        )
        return int(asked.stdout.split()[-1]) if asked.returncode == 0 and asked.stdout.split() else 0

    def submit(self, log: str, target: str = "", **variables: str) -> subprocess.Popen:
        """`make submit` on the head, with variables in its shell; it ends with the pipeline's exit code."""
        variables["RAY_API_SERVER_ADDRESS"] = self.dashboard
        shell = " ".join(f"{name}={value}" for name, value in variables.items())
        return self.head.run(f"env {shell} make --no-print-directory submit ARGS={target}", log)

    def stop(self) -> None:
        """End every process of the machines, and the machines."""
        for machine in self.machines:
            machine.kill()
        clear()


def end(name: str) -> None:
    """Every process in a namespace ends at once."""
    while there := ip("netns", "pids", name).split():
        for process in there:
            try:
                os.kill(int(process), signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.1)


def clear() -> None:
    """Take the namespaces and the bridge of an earlier cluster away."""
    names = [line.split()[0] for line in ip("netns", "list").splitlines()]
    for name in (name for name in names if name.startswith(PREFIX)):
        end(name)
        subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)
        ip("netns", "del", name)
    subprocess.run(["ip", "link", "del", BRIDGE], check=False, capture_output=True)
