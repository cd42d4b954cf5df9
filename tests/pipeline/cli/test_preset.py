import pytest
import yaml

from pipeline.cli.preset import PresetError, apply_preset
from pipeline.runtime.params import ParamsError

PARAMS = """\
# Where images are.
datasets:
  mine: {root: photos}

# What is scored.
benchmarks: [mine]

storage: s3://bucket/prefix

train:                    # how to train
  dataset: mine
  lr: 0.5                 # the step
  epochs: 3               # how long
  precision: bf16         # how exactly

# The last section.
predict:
  batch_size: 4
"""

PRESET = """\
datasets:
  theirs: {root: other, layout: msrc}
  more: {root: more}
benchmarks: [theirs]
train:
  dataset: theirs
  lr: 1.0e-3
  warmup: 0.1
"""


@pytest.fixture
def files(tmp_path):
    preset, file = tmp_path / "some.yaml", tmp_path / "params.yaml"
    preset.write_text(PRESET)
    file.write_text(PARAMS)
    return preset, file


def test_an_option_becomes_the_presets_value_or_its_default(files):
    apply_preset(*files)
    content = yaml.safe_load(files[1].read_text())
    assert content["datasets"] == {"theirs": {"root": "other", "layout": "msrc"}, "more": {"root": "more"}}
    assert content["benchmarks"] == ["theirs"]
    expected = {"dataset": "theirs", "lr": 1e-3, "epochs": 60, "warmup": 0.1, "precision": "float32"}
    assert content["train"] == expected
    assert content["predict"]["batch_size"] == 8


def test_storage_stays(files):
    apply_preset(*files)
    assert yaml.safe_load(files[1].read_text())["storage"] == "s3://bucket/prefix"


def test_comments_stay_where_they_were(files):
    apply_preset(*files)
    text = files[1].read_text()
    for line in ("# Where images are.\ndatasets:", "# What is scored.\nbenchmarks:", "# The last section.\npredict:"):
        assert line in text
    assert "  lr: 1.0e-3              # the step\n" in text
    assert "  epochs: 60              # how long\n" in text


def test_the_result_does_not_depend_on_what_was_set_before(files):
    preset, file = files
    apply_preset(preset, file)
    once = file.read_text()
    file.write_text(once.replace("epochs: 60", "epochs: 7").replace("[theirs]", "[more, theirs]"))
    apply_preset(preset, file)
    assert file.read_text() == once


def test_an_invalid_preset_changes_nothing(files):
    preset, file = files
    preset.write_text(PRESET.replace("warmup: 0.1", "warmup: 3"))
    with pytest.raises(ParamsError, match=r"`train\.warmup`"):
        apply_preset(preset, file)
    assert file.read_text() == PARAMS


def test_an_unknown_preset_is_refused_with_the_names_of_the_others(files):
    with pytest.raises(PresetError, match=r"presets: params, some"):
        apply_preset(files[0].with_name("none.yaml"), files[1])
