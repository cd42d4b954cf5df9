"""What `deploy/` describes, held to what Kubernetes, KubeRay and Compose accept, as far as that goes without them."""

import copy
import fnmatch
import re
import subprocess
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = "1.34"

TEXT, COUNT, FLAG = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
TEXTS = {"type": "object", "additionalProperties": TEXT}
ANY = {"type": "object"}


def record(required=(), **fields):
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}


GROUP = {"rayStartParams": TEXTS, "template": record(["spec"], metadata=ANY, spec=ANY)}
CLUSTER = record(
    ["headGroupSpec"],
    rayVersion=TEXT,
    authOptions=record(["mode"], mode={"enum": ["token", "disabled"]}),
    enableInTreeAutoscaling=FLAG,
    autoscalerOptions=record(
        idleTimeoutSeconds=COUNT,
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
        resources=ANY,
        env={"type": "array"},
        envFrom={"type": "array"},
        image=TEXT,
    ),
    gcsFaultToleranceOptions=ANY,
    headServiceAnnotations=TEXTS,
    suspend=FLAG,
    headGroupSpec=record(["template"], serviceType=TEXT, headService=ANY, enableIngress=FLAG, **GROUP),
    workerGroupSpecs={
        "type": "array",
        "items": record(
            ["groupName", "template"],
            groupName=TEXT,
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            numOfHosts=COUNT,
            idleTimeoutSeconds=COUNT,
            scaleStrategy=ANY,
            **GROUP,
        ),
    },
)
JOB = record(
    ["entrypoint", "rayClusterSpec"],
    activeDeadlineSeconds=COUNT,
    backoffLimit=COUNT,
    rayClusterSpec=CLUSTER,
    submitterPodTemplate=ANY,
    submitterConfig=record(backoffLimit=COUNT),
    metadata=TEXTS,
    clusterSelector=TEXTS,
    entrypoint=TEXT,
    entrypointNumCpus={"type": "number"},
    entrypointNumGpus={"type": "number"},
    entrypointResources=TEXT,
    runtimeEnvYAML=TEXT,
    jobId=TEXT,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
    shutdownAfterJobFinishes=FLAG,
    ttlSecondsAfterFinished=COUNT,
    suspend=FLAG,
)
KINDS = {"RayCluster": CLUSTER, "RayJob": JOB}
"""The fields of KubeRay's custom resources (ray.io/v1) that a manifest of ours may set."""

SERVICE = record(
    image=TEXT,
    build=record(context=TEXT, dockerfile=TEXT, dockerfile_inline=TEXT),
    command={"type": ["string", "array"]},
    entrypoint={"type": ["string", "array"]},
    configs={"type": "array", "items": record(["source", "target"], source=TEXT, target=TEXT)},
    depends_on={
        "type": "object",
        "additionalProperties": record(
            condition={"enum": ["service_started", "service_healthy", "service_completed_successfully"]}
        ),
    },
    environment=TEXTS,
    healthcheck=record(["test"], test={"type": "array"}, interval=TEXT, retries=COUNT),
    ports={"type": "array", "items": TEXT},
    restart={"enum": ["no", "always", "on-failure", "unless-stopped"]},
    volumes={"type": "array", "items": TEXT},
)
COMPOSE = record(
    ["services"],
    services={"type": "object", "additionalProperties": SERVICE},
    configs={"type": "object", "additionalProperties": record(content=TEXT, file=TEXT)},
    volumes={"type": "object"},
)


def manifests(file):
    return list(yaml.safe_load_all((DEPLOY / file).read_text()))


def pods(content):
    """Every pod template of a manifest, as a pod."""
    spec = content["spec"].get("rayClusterSpec", content["spec"])
    for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": group["template"]["spec"]}


def check(content):
    if content["kind"] not in KINDS:
        kubernetes_validate.validate(content, KUBERNETES, strict=True)
        return
    assert content["apiVersion"] == "ray.io/v1" and content["metadata"]["name"]
    jsonschema.validate(content["spec"], KINDS[content["kind"]])
    for pod in pods(content):
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def compose():
    (content,) = manifests("docker-compose.yaml")
    return content


def check_compose(content):
    jsonschema.validate(content, COMPOSE)
    for service in content["services"].values():
        assert set(service.get("depends_on", {})) <= set(content["services"])
        assert {volume.partition(":")[0] for volume in service.get("volumes", [])} <= set(content["volumes"])
        assert {one["source"] for one in service.get("configs", [])} <= set(content["configs"])


@pytest.mark.parametrize(
    "file, kind", [("raycluster.yaml", "RayCluster"), ("rayjob.yaml", "RayJob"), ("mlflow.yaml", "Deployment")]
)
def test_kubernetes_and_kuberay_know_every_key(file, kind):
    found = manifests(file)
    assert kind in {content["kind"] for content in found}
    for content in found:
        check(content)


@pytest.mark.parametrize(
    "file, place, value",
    [
        ("rayjob.yaml", ["entrypont"], "dvc repro"),
        ("rayjob.yaml", ["rayClusterSpec", "headGroupSpec", "template", "spec", "containers", 0, "imag"], "x"),
        ("rayjob.yaml", ["rayClusterSpec", "workerGroupSpecs", 0, "minReplicas"], "four"),
        ("raycluster.yaml", ["autoscalerOptions", "idleTimeout"], 60),
        ("raycluster.yaml", ["workerGroupSpecs", 1, "template", "spec", "volumes", 0, "persistentVolumeClaim"], "x"),
        ("raycluster.yaml", ["authOptions", "mode"], "password"),
    ],
)
def test_a_broken_key_is_caught(file, place, value):
    content = copy.deepcopy(next(one for one in manifests(file) if one["kind"] in KINDS))
    inside = content["spec"]
    for step in place[:-1]:
        inside = inside[step]
    inside[place[-1]] = value
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        check(content)


@pytest.mark.parametrize("file", ["raycluster.yaml", "rayjob.yaml"])
def test_every_pod_mounts_the_checkout_and_runs_one_version_of_ray(file):
    content = next(one for one in manifests(file) if one["kind"] in KINDS)
    spec = content["spec"].get("rayClusterSpec", content["spec"])
    base = (DEPLOY / "Dockerfile").read_text().partition("FROM rayproject/ray:")[2].partition("-")[0]
    assert spec["rayVersion"] == base
    assert f"ray[data,train,default]>={base.rpartition('.')[0]}" in (ROOT / "pyproject.toml").read_text()
    for pod in pods(content):
        (container,) = pod["spec"]["containers"]
        assert container["volumeMounts"] == [{"name": "shared", "mountPath": "/shared"}]


def test_compose_knows_every_key_and_nothing_is_named_that_is_not_there():
    check_compose(compose())


def test_compose_listens_on_this_machine_only_unless_an_address_is_given():
    ports = [port for service in compose()["services"].values() for port in service.get("ports", [])]
    assert ports and all(port.startswith("${BIND:-127.0.0.1}:") for port in ports)


def test_passwords_are_in_no_command_and_in_no_address():
    for service in compose()["services"].values():
        assert "PASSWORD" not in str(service.get("command", "")) + str(service.get("entrypoint", ""))
    server = compose()["services"]["mlflow"]["environment"]
    (deployment,) = (one for one in manifests("mlflow.yaml") if one["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    addresses = [server["MLFLOW_BACKEND_STORE_URI"], *(one["value"] for one in container["env"])]
    assert not any("$" in address or "PASSWORD" in address for address in addresses)


def test_every_image_has_a_version():
    images = [service["image"] for service in compose()["services"].values() if "image" in service]
    for file in DEPLOY.glob("*Dockerfile"):
        images += re.findall(r"^FROM (\S+)", file.read_text(), re.MULTILINE)
    for file in ("raycluster.yaml", "rayjob.yaml", "mlflow.yaml"):
        images += re.findall(r"image: (\S+)", (DEPLOY / file).read_text())
    assert len(images) >= 9
    for image in images:
        version = image.rpartition(":")[2]
        assert re.match(r"\d+\.\d+", version), image


def test_an_image_gets_no_password_and_no_data():
    """Follow .dockerignore as Docker does: the last pattern that matches decides."""
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]

    def is_sent(path):
        sent = True
        for pattern in patterns:
            bare = pattern.removeprefix("!").rstrip("/")
            parts = [path, *map(str, Path(path).parents)]
            if any(
                fnmatch.fnmatch(part, bare) or fnmatch.fnmatch(f"/{part}", bare.replace("**", "*")) for part in parts
            ):
                sent = pattern.startswith("!")
        return sent

    assert is_sent("pyproject.toml") and is_sent("icnet/model.py") and is_sent("pipeline/train/stage.py")
    for path in ("deploy/.env", ".env", "icnet/.env", "data/model/model.safetensors", ".git/config", "mlflow.db"):
        assert not is_sent(path), path


def test_git_ignores_files_of_passwords():
    for path in ("deploy/.env", ".env"):
        assert subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False).returncode == 0, path


@pytest.mark.parametrize(
    "broken",
    [
        {"services": {"mlflow": {"imagee": "x"}}},
        {"services": {"mlflow": {"depends_on": {"database": {"condition": "service_healthy"}}}}, "volumes": {}},
        {"service": {}},
    ],
)
def test_a_broken_compose_file_is_caught(broken):
    with pytest.raises((jsonschema.ValidationError, AssertionError)):
        check_compose(broken)
