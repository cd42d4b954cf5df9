"""`cosal score`: maps of any method against masks."""

import json
import shutil

import pytest
from PIL import Image

from tests.helpers import photographs
from tests.helpers.cosal import predict, run


def test_maps_of_any_method_are_scored_and_missing_ones_are_listed(tmp_path):
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


@pytest.mark.parametrize(
    ("options", "size", "convention"),
    [((), "224 px", "paper"), (("--convention", "field"), "original", "field")],
    ids=["paper", "field"],
)
def test_scores_say_their_size_and_their_convention(tmp_path, options, size, convention):
    masks = photographs.write(tmp_path / "photos", {"apple": 2}) / "masks"
    for file in masks.glob("*/*.png"):
        (tmp_path / "maps" / file.parent.name).mkdir(parents=True, exist_ok=True)
        Image.open(file).convert("L").point(lambda value: 60 + value // 4).save(
            tmp_path / "maps" / file.parent.name / file.name
        )
    head, line = run("score", tmp_path / "maps", masks, *options).stdout.splitlines()
    assert head.split()[:5] == ["method", "size", "convention", "max", "F"]
    assert line.startswith("maps") and f"{size}" in line and convention in line
    mae = float(line.split()[-2])
    assert mae < 0.01 if convention == "field" else mae > 0.2


def test_maps_of_cosal_predict_are_scored_and_the_files_of_its_page_are_not(model, tmp_path):
    root = photographs.write(tmp_path / "photos", {"apple": 2})
    assert predict(root / "images", tmp_path / "out", model).exit_code == 0
    content = json.loads(run("score", tmp_path / "out", root / "masks", "--size", "32", "--json").stdout)
    assert (content["images"], content["extra"], content["missing"]) == (2, [], [])
