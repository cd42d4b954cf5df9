import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from icnet import checkpoint
from icnet.config import Config
from icnet.model import ICNet
from pipeline import tables
from pipeline.cli.app import app, main
from tests.helpers import photographs


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(3)
    file = tmp_path_factory.mktemp("model") / "model.safetensors"
    checkpoint.save(ICNet(Config(size=64, width=0.125, init="he")), file)
    return file


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_a_folder_of_groups_becomes_maps_sheets_and_scores(model, ray_session, tmp_path):
    photos = photographs.write(tmp_path / "photos", {"apple": 3, "bear": 1}) / "images"
    (photos / "bear" / "broken.jpg").write_bytes(b"no picture")
    result = run("predict", photos, tmp_path / "out", "--model", model)
    assert result.exit_code == 0
    assert "4 co-saliency maps of 2 groups" in result.stdout
    for group, size in (("apple", 3), ("bear", 1)):
        assert len(list((tmp_path / "out" / group).glob("*.png"))) == size
        with Image.open(tmp_path / "out" / f"{group}.jpg") as sheet:
            assert min(sheet.size) > 100
    with Image.open(tmp_path / "out" / "apple" / "0001.png") as map_:
        assert (map_.mode, map_.size) == ("L", (64, 49))
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").open()))
    assert [(row["group"]) for row in rows] == ["apple"] * 3 + ["bear"]
    assert [float(row["weight"]) for row in rows[:3]] == sorted(float(row["weight"]) for row in rows[:3])
    rejects = list(csv.DictReader((tmp_path / "out" / "rejects.csv").open()))
    assert [row["path"] for row in rejects] == ["bear/broken.jpg"]


def test_a_folder_of_photographs_is_one_group_and_a_second_run_predicts_nothing(model, ray_session, tmp_path, capsys):
    photos = photographs.write(tmp_path / "photos", {"apple": 3}) / "images" / "apple"
    for expected in ("3 made now", "0 made now"):
        result = run("predict", photos, tmp_path / "out", "--model", model, "--sism", "ones")
        assert f"predict: {expected}" in result.stdout
    assert sorted(file.name for file in (tmp_path / "out" / "apple").iterdir()) == ["0000.png", "0001.png", "0002.png"]


def test_a_table_is_exported(tmp_path):
    samples = photographs.samples(tmp_path / "samples", {"apple": 2}, 16)
    assert "2 PNG files" in run("export", samples, tmp_path / "out").stdout
    assert len(tables.read_table(samples)) == len(list((tmp_path / "out" / "apple").glob("*.png")))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["predict", "photos", "photos/out"], "lies inside"),
        (["predict", "photos", "out", "--model", "nothing.safetensors"], "there is no file nothing.safetensors"),
        (["predict", "photos", "out", "--model", "models:/icnet@champion"], "has no models:/icnet@champion"),
        (["export", "photos", "out"], "holds no finished table"),
    ],
)
def test_what_a_person_gets_wrong_is_one_sentence(tmp_path, monkeypatch, capsys, arguments, sentence):
    photographs.write(tmp_path / "photos", {"apple": 1})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["cosal", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert sentence in capsys.readouterr().err


def test_the_console_script_is_installed(tmp_path):
    command = [str(Path(sys.executable).with_name("cosal")), "export", "nothing", "out"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("cosal: nothing holds no finished table")


def test_maps_of_anybody_are_scored_and_what_is_missing_is_named(tmp_path):
    masks = photographs.write(tmp_path / "photos", {"apple": 3}) / "masks"
    shutil.copytree(masks, tmp_path / "maps")
    (tmp_path / "maps" / "apple" / "0002.png").rename(tmp_path / "maps" / "apple" / "more.png")
    result = run("score", tmp_path / "maps", masks, "--size", "original")
    assert "1 masks have no map and are not scored: apple/0002" in result.stdout
    assert "1 maps have no mask and are not scored: apple/more" in result.stdout
    content = json.loads(run("score", tmp_path / "maps", masks, "--json").stdout)
    assert content["images"] == 2
    assert content["overall"]["mae"] == pytest.approx(0, abs=0.01)
    assert content["overall"]["max_f"] > 0.99
