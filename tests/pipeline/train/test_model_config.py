"""Section `model` of params.yaml and the network's own options."""

from dataclasses import fields

import pytest
import yaml

from icnet.config import Config
from pipeline.runtime import params
from pipeline.train.config import ModelConfig

WRITTEN = """
model:
  backbone: dinov2_vits14
  size: 224
  depths: [7, 9, 11]
  looks: 2
  similarity_maps: true
  residual_maps: true
  init: whitened
  weights: dinov2.pth
"""


def test_every_option_of_the_network_can_be_set_with_the_same_default():
    options = ModelConfig().model_dump(exclude={"weights"})
    assert options.keys() == {field.name for field in fields(Config)}
    assert Config(**options) == Config()


def test_the_options_of_the_second_backbone_are_read_from_yaml():
    section = params.parse_section(yaml.safe_load(WRITTEN)["model"], "model", ModelConfig)
    config = Config(**section.model_dump(exclude={"weights"}))
    assert (config.backbone, config.depths, config.looks) == ("dinov2_vits14", (7, 9, 11), 2)


def test_an_unknown_backbone_is_refused_by_name():
    with pytest.raises(params.ParamsError, match=r"`model.backbone`"):
        params.parse_section({"backbone": "resnet1000"}, "model", ModelConfig)
