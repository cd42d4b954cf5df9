import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from pipeline.evaluate.config import EvaluateConfig
from pipeline.index.config import IndexConfig
from pipeline.predict.config import PredictConfig
from pipeline.runtime import params
from pipeline.sism.config import SismConfig
from pipeline.train.config import ModelConfig, TrainConfig

DVC = Path(sys.executable).with_name("dvc")


class Speed(params.Section):
    renamed: ClassVar[dict[str, str]] = {"pace": "rate"}
    renamed_values: ClassVar[dict[str, dict[str, str]]] = {"name": {"grey": "gray"}}

    rate: float
    name: str = "x"


def write(folder, text):
    file = folder / "params.yaml"
    file.write_text(text)
    return file


def test_a_section_is_read_with_its_defaults(tmp_path):
    config = params.load_section("train", Speed, write(tmp_path, "train: {rate: 0.5}"))
    assert config == Speed(rate=0.5, name="x")


def test_a_single_value_is_read_by_its_dotted_path(tmp_path):
    assert params.load_section("model.size", int, write(tmp_path, "model: {size: 224}")) == 224


@pytest.mark.parametrize("text", ["1e-05", "1.0e-5", "0.1E-4", "1e-5"])
def test_a_number_may_be_written_as_dvc_writes_it(tmp_path, text):
    assert params.load_section("train", Speed, write(tmp_path, f"train: {{rate: {text}, name: '1e-5'}}")) == Speed(
        rate=1e-5, name="1e-5"
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("train: {rate: 0.5, rates: 1}", "unknown key `train.rates`"),
        ("train: {}", "`train.rate` is missing"),
        ("train: {rate: fast}", "`train.rate`: input should be a valid number, got 'fast'"),
        ("train: {rate: '0.5'}", "`train.rate`: input should be a valid number, got '0.5'"),
        ("model: {}", "there is no section `train` (there: model)"),
        ("- 1", "expected sections, got list"),
        ("train: [", "it is not valid YAML"),
        ("train: {rate: .inf}", "`train.rate`: input should be a finite number, got inf"),
        ("train: {rate: .nan}", "`train.rate`: input should be a finite number, got nan"),
        ("train: {rate: 99999999999}", "`train.rate`: numbers above 2147483647 are not accepted"),
        ("train: {rate: " + "9" * 5000 + "}", "params.yaml: "),
        ("train: {rate: 1.0, rate: 2.0}", "line 1: `rate` is there twice"),
        ("train: {rate: 1.0}\ntrain: {rate: 2.0}", "line 2: `train` is there twice"),
        ("train: {[1]: 2}", "it is not valid YAML"),
        ("train: &a {rate: *a}", "it holds more than 100000 values"),
        ("train: " + "[" * 5000, "it is not valid YAML"),
        ("train: {rate: 2001-99-99}", "params.yaml: "),
        ("train: !!python/object/apply:os.getcwd []", "it is not valid YAML"),
        ("train: {rate: '" + "x" * 500 + "'}", "x" * 79 + " ..."),
    ],
)
def test_an_error_names_the_field_and_what_stands_there(tmp_path, text, sentence):
    with pytest.raises(params.ParamsError) as error:
        params.load_section("train", Speed, write(tmp_path, text))
    assert sentence in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_file_with_an_alias_bomb_is_refused_at_once(tmp_path):
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 30)]
    with pytest.raises(params.ParamsError, match="it holds more than 100000 values"):
        params.read_params(write(tmp_path, "\n".join(["l0: &l0 [x]", *levels])))


def test_a_value_may_be_used_twice_by_an_alias(tmp_path):
    assert params.load_section("b", Speed, write(tmp_path, "a: &a {rate: 0.5}\nb: *a")) == Speed(rate=0.5)


def test_a_file_that_is_not_utf_8_is_one_sentence(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_bytes("train: {name: grün}".encode("latin-1"))
    with pytest.raises(params.ParamsError, match=r"is not UTF-8 text: byte 16 is 0xfc"):
        params.read_params(file)


def test_a_missing_file_says_where_to_run(tmp_path):
    with pytest.raises(params.ParamsError, match="run from the root of the repository"):
        params.load_section("train", Speed, tmp_path / "params.yaml")


def test_an_empty_section_takes_every_default(tmp_path):
    class Defaults(params.Section):
        seed: int = 3

    assert params.load_section("demo", Defaults, write(tmp_path, "demo:")).seed == 3


def test_an_old_name_is_accepted_with_a_warning_that_gives_the_new_one(tmp_path, capsys):
    config = params.load_section("train", Speed, write(tmp_path, "train: {pace: 0.5, name: grey}"))
    assert config == Speed(rate=0.5, name="gray")
    first, second = capsys.readouterr().err.splitlines()
    assert "`train.pace` is now `train.rate`" in first and "`train.name: grey` is now `gray`" in second


def test_the_new_name_gives_no_warning(tmp_path, capsys):
    params.load_section("train", Speed, write(tmp_path, "train: {rate: 0.5, name: gray}"))
    assert capsys.readouterr().err == ""


def test_an_old_and_a_new_name_together_are_refused(tmp_path):
    with pytest.raises(params.ParamsError, match=r"`train.pace` is the old name of `train.rate`: keep only the new"):
        params.load_section("train", Speed, write(tmp_path, "train: {pace: 0.5, rate: 0.5}"))


@pytest.mark.parametrize(
    "kind", [TrainConfig, ModelConfig, SismConfig, PredictConfig, IndexConfig, EvaluateConfig], ids=lambda k: k.__name__
)
def test_every_renamed_field_has_a_field_under_its_new_name_only(kind):
    assert kind.renamed
    assert not set(kind.renamed) & set(kind.model_fields)
    assert set(kind.renamed.values()) | set(kind.renamed_values) <= set(kind.model_fields)


def test_an_experiment_that_sets_an_old_name_fails_or_uses_it(tmp_path):
    """`dvc exp run -S train.rate=...` must never train with another learning rate than the one that was asked for."""
    code = "from pipeline.runtime.params import load_section; from pipeline.train.config import TrainConfig\n"
    code += "from pathlib import Path; Path('lr.txt').write_text(str(load_section('train', TrainConfig).lr))"
    (tmp_path / "stage.py").write_text(code)
    (tmp_path / "dvc.yaml").write_text(
        f"stages: {{train: {{cmd: '{sys.executable} stage.py', params: [train], outs: [lr.txt]}}}}"
    )
    write(tmp_path, "train: {lr: 0.25, epochs: 3}\n")
    for command in (
        ["git", "init", "-q"],
        [DVC, "init", "-q"],
        ["git", "add", "-A"],
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "t"],
    ):
        subprocess.run(command, cwd=tmp_path, check=True)
    for setting, sentence in (("train.rate=0.5", "rate"), ("+train.rate=0.5", "keep only the new one")):
        made = subprocess.run([DVC, "exp", "run", "-S", setting], cwd=tmp_path, capture_output=True, text=True)
        assert made.returncode != 0 and sentence in made.stderr
    write(tmp_path, "train: {rate: 0.25, epochs: 3}\n")
    subprocess.run([DVC, "exp", "run", "-S", "train.rate=0.5"], cwd=tmp_path, check=True)
    assert (tmp_path / "lr.txt").read_text() == "0.5"
