import os
import socket
import subprocess
import sys

import ray

from pipeline.runtime import cluster


def test_a_worker_finds_the_interface_that_ray_knows_it_by(ray_session):
    @ray.remote
    def asked():
        cluster.set_gloo_interface()
        return os.environ["GLOO_SOCKET_IFNAME"]

    assert ray.get(asked.remote()) in [name for _, name in socket.if_nameindex()]


def test_one_machine_computes_on_its_cores_and_has_slots_for_readers_beside(ray_session):
    assert 1 <= cluster.count_cores() <= len(os.sched_getaffinity(0))
    assert ray.cluster_resources()["CPU"] >= cluster.MIN_CPU_SLOTS


def test_a_stage_joins_the_cluster_of_ray_address_and_hands_on_what_its_workers_need(ray_session):
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
