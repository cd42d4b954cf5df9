"""An MLflow server with the settings of `deploy/`, called by the names that its clients use."""

import re
import subprocess
import sys

import pytest

from tests.cluster.database import Postgres, Server, binaries
from tests.cluster.test_manifests import KINDS, compose, manifests, pods
from tests.helpers.checkout import make_environment

PASSWORD = "p@ss:w/rd%20#"
NAME = "mlflow.example.com"

CLIENT = """
import socket, sys

resolve = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **more: resolve("127.0.0.1" if host in sys.argv[2:] else host, *rest, **more)

from mlflow.tracking import MlflowClient

for name in sys.argv[2:]:
    client = MlflowClient(f"http://{name}:{sys.argv[1]}")
    run = client.create_run(client.create_experiment(name))
    client.log_metric(run.info.run_id, "loss", 0.5)
    client.log_text(run.info.run_id, "text", "file.txt")
    print(name, client.get_run(run.info.run_id).data.metrics)
"""
"""Logs to a server by names that mean 127.0.0.1."""


def log(server, names, folder):
    environment = make_environment(folder, MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
    command = [sys.executable, "-c", CLIENT, str(server.port), *names]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def check_hosts(server, accepted, folder):
    """The server takes what is logged by the accepted names, and refuses another."""
    done = log(server, [*accepted, "attacker.example.com"], folder)
    assert done.stdout.splitlines() == [f"{name} {{'loss': 0.5}}" for name in accepted], done.stderr[-2000:]
    assert done.returncode != 0 and "Invalid Host header" in done.stderr


def compose_settings(**variables):
    """The environment of the compose file's server, with the variables of a file .env."""

    def fill(match):
        return variables.get(match[1]) or match[2] or ""

    environment = compose()["services"]["mlflow"]["environment"]
    return {name: re.sub(r"\$\{(\w+)(?::[-?]([^}]*))?\}", fill, value) for name, value in environment.items()}


def kubernetes_settings():
    (deployment,) = (one for one in manifests("mlflow.yaml") if one["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {one["name"]: one["value"] for one in container["env"]}


def kubernetes_host(file):
    """The host of MLFLOW_TRACKING_URI in every pod of a manifest."""
    content = next(one for one in manifests(file) if one["kind"] in KINDS)
    (uri,) = {
        one["value"]
        for pod in pods(content)
        for one in pod["spec"]["containers"][0]["env"]
        if one["name"] == "MLFLOW_TRACKING_URI"
    }
    return re.fullmatch(r"http://(\w+):5000", uri)[1]


@pytest.fixture
def start(tmp_path):
    """Start a server with an environment."""
    started = []

    def make(environment, backend=f"sqlite:///{tmp_path}/mlflow.db"):
        started.append(Server(tmp_path, backend, environment))
        started[-1].start()
        return started[-1]

    yield make
    for server in started:
        server.kill()


def accepted_hosts(environment):
    return {"MLFLOW_SERVER_ALLOWED_HOSTS": environment["MLFLOW_SERVER_ALLOWED_HOSTS"]}


@pytest.mark.slow
def test_pods_log_by_the_name_of_the_service(start, tmp_path):
    (service,) = (one for one in manifests("mlflow.yaml") if one["kind"] == "Service")
    name = service["metadata"]["name"]
    assert kubernetes_host("raycluster.yaml") == kubernetes_host("rayjob.yaml") == name
    server = start(accepted_hosts(kubernetes_settings()))
    check_hosts(server, (name, f"{name}.default.svc.cluster.local"), tmp_path)


@pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed")
@pytest.mark.slow
def test_the_compose_server_takes_any_password_and_the_name_that_is_given(start, tmp_path):
    database = Postgres(PASSWORD)
    database.start()
    try:
        environment = compose_settings(POSTGRES_PASSWORD=PASSWORD, MLFLOW_HOST=NAME)
        address = environment["MLFLOW_BACKEND_STORE_URI"]
        backend = address.replace("mlflow@postgres:5432", f"postgres@127.0.0.1:{database.port}")
        server = start({**accepted_hosts(environment), "PGPASSWORD": environment["PGPASSWORD"]}, backend)
        check_hosts(server, (NAME, "mlflow", "localhost"), tmp_path)
    finally:
        database.stop()
