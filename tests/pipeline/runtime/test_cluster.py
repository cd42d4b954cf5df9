import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import ray

from pipeline.runtime import cluster, locks


def test_a_worker_finds_the_interface_that_ray_knows_it_by(ray_session):
    @ray.remote
    def asked():
        cluster.set_network_interface()
        return {os.environ[f"{library}_SOCKET_IFNAME"] for library in ("GLOO", "NCCL")}

    assert ray.get(asked.remote()) <= {name for _, name in socket.if_nameindex()}


def test_one_machine_computes_on_its_cores_and_has_slots_for_readers_beside(ray_session):
    assert 1 <= cluster.count_cores() <= len(os.sched_getaffinity(0))
    assert ray.cluster_resources()["CPU"] >= cluster.MIN_CPU_SLOTS


def test_a_stage_joins_the_cluster_of_ray_address_and_forwards_what_its_workers_need(ray_session):
    code = (
        "import ray, os; from pipeline.runtime import cluster\n"
        "with cluster.connect():\n"
        "    names = 'AWS_ENDPOINT_URL', 'MALLOC_ARENA_MAX'\n"
        "    print(*ray.get(ray.remote(lambda: [os.environ[name] for name in names]).remote()))\n"
        "    print(ray.get_runtime_context().gcs_address)"
    )
    address = ray.get_runtime_context().gcs_address
    handed = {"RAY_ADDRESS": address, "AWS_ENDPOINT_URL": "http://store:9000", "MALLOC_ARENA_MAX": "3"}
    made = subprocess.run([sys.executable, "-c", code], env={**os.environ, **handed}, capture_output=True, text=True)
    assert made.stdout.split()[-3:] == ["http://store:9000", "3", address], made.stderr


def test_workers_keep_the_memory_that_they_free(ray_session):
    assert ray.get(ray.remote(lambda: os.environ["MALLOC_ARENA_MAX"]).remote()) == "1"


STAGE = """
import sys, time, psutil, ray, typer
from pathlib import Path
from pipeline.runtime import cluster, entrypoint, locks

app = typer.Typer()

@app.command()
def main(out: Path):
    with locks.lock_output(out), cluster.connect():
        me = psutil.Process()
        addresses = {
            connection.laddr.ip
            for process in [me, *me.children(recursive=True)]
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        print(ray.get(ray.remote(lambda: 7).remote()), *sorted(addresses), flush=True)
        time.sleep(600)

entrypoint.run_app(app, "stage")
"""


@pytest.fixture
def own_folders(tmp_path):
    """A home, and a folder for Ray whose path is short enough for its sockets, with a file of somebody else in it."""
    folder = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    (folder / "ray-other").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    yield {**kept, "RAY_TMPDIR": str(folder), "HOME": str(tmp_path)}
    shutil.rmtree(folder)


def test_a_local_ray_is_closed_to_others_and_leaves_nothing_when_it_is_stopped(own_folders, tmp_path):
    stage = subprocess.Popen(
        [sys.executable, "-c", STAGE, str(tmp_path / "out")],
        env=own_folders, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    result, *addresses = stage.stdout.readline().split() or pytest.fail(stage.communicate()[1])
    token, folder = tmp_path / ".ray" / "auth_token", Path(own_folders["RAY_TMPDIR"])
    try:
        assert result == "7" and addresses and set(addresses) <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
        assert stat.S_IMODE(token.stat().st_mode) == 0o600
        assert len(list(folder.glob("ray-*/session_2*"))) == 1
        stage.send_signal(signal.SIGTERM)
        assert stage.wait(120) == 128 + signal.SIGTERM
    finally:
        stage.kill()
    assert "stage: stopped by SIGTERM" in stage.stderr.read()
    assert [file.name for file in folder.iterdir()] == ["ray-other"]
    with locks.lock_output(tmp_path / "out"):
        pass


def test_a_token_that_others_can_read_is_closed_to_them(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("0123456789abcdef")
    (tmp_path / ".ray" / "auth_token").chmod(0o644)
    cluster._protect_token()
    assert stat.S_IMODE((tmp_path / ".ray" / "auth_token").stat().st_mode) == 0o600
    assert (tmp_path / ".ray" / "auth_token").read_text() == "0123456789abcdef"
