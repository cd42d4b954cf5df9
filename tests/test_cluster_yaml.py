import json
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


def test_workers_run_the_checkout_that_the_head_serves():
    content = config()
    commands = [*content["head_start_ray_commands"], *content["worker_start_ray_commands"]]
    assert all("/shared/icnet" in command for command in commands if "ray start" in command)
