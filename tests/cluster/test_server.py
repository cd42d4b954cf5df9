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
socket.getaddrinfo = lambda host, *rest, **more: resolve("127.0.0.1" if host == sys.argv[1] else host, *rest, **more)

from mlflow.tracking import MlflowClient

client = MlflowClient(f"http://{sys.argv[1]}:{sys.argv[2]}")
run = client.create_run(client.create_experiment(sys.argv[1]))
client.log_metric(run.info.run_id, "loss", 0.5)
client.log_text(run.info.run_id, "text", "file.txt")
print(client.get_run(run.info.run_id).data.metrics)
"""
"""Logs to a server by a name that means 127.0.0.1."""


def log(server, name, folder):
    environment = make_environment(folder, MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
    command = [sys.executable, "-c", CLIENT, name, str(server.port)]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


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


def test_pods_log_by_the_name_of_the_service(start, tmp_path):
    (service,) = (one for one in manifests("mlflow.yaml") if one["kind"] == "Service")
    name = service["metadata"]["name"]
    assert kubernetes_host("raycluster.yaml") == kubernetes_host("rayjob.yaml") == name
    server = start(accepted_hosts(kubernetes_settings()))
    for host in (name, f"{name}.default.svc.cluster.local"):
        done = log(server, host, tmp_path)
        assert done.returncode == 0 and "{'loss': 0.5}" in done.stdout, done.stderr[-2000:]
    assert "Invalid Host header" in log(server, "attacker.example.com", tmp_path).stderr


@pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed")
def test_the_compose_server_takes_any_password_and_the_name_that_is_given(start, tmp_path):
    database = Postgres(PASSWORD)
    database.start()
    try:
        environment = compose_settings(POSTGRES_PASSWORD=PASSWORD, MLFLOW_HOST=NAME)
        address = environment["MLFLOW_BACKEND_STORE_URI"]
        backend = address.replace("mlflow@postgres:5432", f"postgres@127.0.0.1:{database.port}")
        server = start({**accepted_hosts(environment), "PGPASSWORD": environment["PGPASSWORD"]}, backend)
        for host in (NAME, "mlflow", "localhost"):
            done = log(server, host, tmp_path)
            assert done.returncode == 0 and "{'loss': 0.5}" in done.stdout, done.stderr[-2000:]
        assert "Invalid Host header" in log(server, "attacker.example.com", tmp_path).stderr
    finally:
        database.stop()
