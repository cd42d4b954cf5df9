"""The endpoint gives the maps of `icnet.load().predict`, refuses what it must, and loses no request."""

import base64
import io
import json
import os
import signal
import socket
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import requests
import yaml
from PIL import Image
from ray import serve
from ray.serve.schema import ServeDeploySchema

import icnet
from icnet import images
from pipeline.serve.application import build
from pipeline.serve.config import ServeConfig
from tests.helpers import checkpoints, photographs

SIZES = [(48, 64), (80, 60), (64, 64)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return checkpoints.save_small(tmp_path_factory.mktemp("model"), 64, sism_method="gc")


@pytest.fixture(scope="module")
def endpoint(model, ray_session):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ["RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"] = "120"  # a busy machine starts processes slowly
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    options = {"model": str(model), "num_cpus": 0.5, "max_images": 20, "max_megabytes": 2, "max_megapixels": 1}
    options |= {"max_total_megapixels": 1.5, "num_replicas": 2}
    texts = {name: str(value) for name, value in options.items()}  # as `serve run` gives them
    serve.run(build(texts), name="maps", route_prefix="/")
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()


def group(count=3):
    return [images.encode(photographs.photograph(seed, *SIZES[seed % 3])[0]) for seed in range(count)]


def post(endpoint, files, form="zip", names=None):
    names = names or [f"photo {number}.png" for number in range(len(files))]
    parts = [("photographs", (name, content)) for name, content in zip(names, files, strict=True)]
    return requests.post(f"{endpoint}/maps", files=parts, params={"form": form}, timeout=120)


def test_maps_and_weights_are_those_of_the_library(endpoint, model):
    expected = icnet.load(model, device="cpu").predict(group())
    answer = post(endpoint, group())
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        rows = json.loads(archive.read("weights.json"))
        assert [row["photograph"] for row in rows] == ["photo 0.png", "photo 1.png", "photo 2.png"]
        for row, map_, weight in zip(rows, expected.maps, expected.weights, strict=True):
            found = images.decode_gray(archive.read(row["map"])).astype(int)
            assert found.shape == map_.shape and np.abs(found - map_ * 255).max() <= 2
            assert row["weight"] == pytest.approx(float(weight), abs=1e-2)


def test_json_with_base64_gives_the_same_maps(endpoint):
    content = {"photographs": [base64.b64encode(one).decode() for one in group()]}
    answer = requests.post(f"{endpoint}/maps/json", json=content, timeout=120)
    files = post(endpoint, group(), "json").json()["photographs"]
    assert [row["map"] for row in answer.json()["photographs"]] == [row["map"] for row in files]


def encode(height, width):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("files", "status", "reason"),
    [
        ([b"no image"], 422, "'photo 0.png' "),
        ([encode(30, 30)] * 21, 413, "may hold 20 photographs, this one holds 21"),
        ([encode(1100, 1000)], 413, "1 megapixels"),
        ([encode(900, 900)] * 2, 413, "1.5 megapixels"),
        ([os.urandom(3 << 20)], 413, "2 MiB"),
        ([group(1)[0][:200]], 422, "photo"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_sentence(endpoint, files, status, reason):
    answer = post(endpoint, files)
    assert answer.status_code == status and reason in answer.json()["detail"], answer.text


def test_text_that_is_no_base64_and_a_request_without_photographs_are_refused(endpoint):
    for content in ({"photographs": ["http://example.com/a.jpg"]}, {"photographs": ["é"]}, {"photographs": []}, {}):
        assert requests.post(f"{endpoint}/maps/json", json=content, timeout=60).status_code == 422


def test_hostile_names_stay_inside_the_archive(endpoint):
    answer = post(endpoint, group(2), names=["../../etc/passwd.png", "a/b.png"])
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert all("/" not in name and ".." not in name for name in archive.namelist())


def test_health_metrics_and_a_description_are_served(endpoint):
    assert requests.get(f"{endpoint}/healthz", timeout=60).json() == {"status": "ok"}
    assert "/maps" in requests.get(f"{endpoint}/openapi.json", timeout=60).json()["paths"]
    assert requests.get(f"{endpoint}/docs", timeout=60).status_code == 200
    post(endpoint, group(2))
    text = requests.get(f"{endpoint}/metrics", timeout=60).text
    assert 'icnet_requests_total{status="200"}' in text and "icnet_request_seconds_bucket" in text


def list_replicas():
    """Process ids of the replicas of the network."""
    replicas = serve.status().applications["maps"].deployments["Network"]
    assert replicas.replica_states["RUNNING"] >= 1
    found = []
    for process in os.popen("ps -eo pid,args").read().splitlines():
        if "ServeReplica:maps:Network" in process:
            found.append(int(process.split()[0]))
    return found


def test_no_request_is_lost_when_a_replica_is_killed(endpoint):
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(post, endpoint, group(3), "json") for _ in range(16)]
        answers[1].result()
        victims = list_replicas()
        assert len(victims) == 2
        os.kill(victims[0], signal.SIGKILL)
        found = [answer.result() for answer in answers]
    assert [answer.status_code for answer in found] == [200] * 16
    assert len({answer.text for answer in found}) == 1


def test_the_manifest_for_kubernetes_holds_a_valid_application(root):
    manifest = yaml.safe_load((root / "deploy" / "rayservice.yaml").read_text())
    described = ServeDeploySchema(**yaml.safe_load(manifest["spec"]["serveConfigV2"]))
    (application,) = described.applications
    assert application.import_path == "pipeline.serve:build"
    assert ServeConfig(**application.args).num_replicas == 2
