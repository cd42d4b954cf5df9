import ipaddress
import json
import re
from pathlib import Path

import jsonschema
import pytest
import ray
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parents[1]


def config():
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def check(content):
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(content, schema)
    validate_config(prepare_config(content))


def test_ray_accepts_cluster_yaml():
    check(config())


@pytest.mark.parametrize("broken", [{"max_worker": 3}, {"max_workers": "many"}, {"head_node_type": "heads"}])
def test_a_broken_key_is_caught(broken):
    with pytest.raises((jsonschema.ValidationError, ValueError)):
        check(config() | broken)


def test_every_node_installs_the_package_and_runs_the_checkout_that_the_head_serves():
    content = config()
    assert any("pip install" in command and "/home/ubuntu/icnet" in command for command in content["setup_commands"])
    commands = [*content["head_start_ray_commands"], *content["worker_start_ray_commands"]]
    starts = [command for command in commands if "ray start" in command]
    assert len(starts) == 2 and all("PYTHONPATH=/shared/icnet" in command for command in starts)


def test_every_node_has_the_token_that_ray_asks_for():
    content = config()
    assert "/home/ubuntu/.ray/auth_token" in content["file_mounts"]
    commands = [*content["head_start_ray_commands"], *content["worker_start_ray_commands"]]
    assert all("RAY_AUTH_MODE=token" in command for command in commands if "ray start" in command)


def test_the_shared_folder_is_exported_to_one_network_and_to_no_root():
    (export,) = (command for command in config()["head_setup_commands"] if "/etc/exports" in command)
    options = re.search(r"'/shared (\S+)\(([^)]*)\)'", export)
    assert ipaddress.ip_network(options[1]).prefixlen >= 8, "the export is open to every address"
    assert "all_squash" in options[2].split(",") and "no_root_squash" not in options[2]
