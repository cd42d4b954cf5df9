import json

import numpy as np
import pytest
from PIL import Image

from icnet import images
from pipeline.evaluate.compare import compare_folders
from pipeline.evaluate.folders import FolderError
from pipeline.metrics import aggregate, pysod, score
from tests.helpers import benchmark, photographs


@pytest.fixture
def pair(tmp_path):
    """Folders of maps and of masks of the same five images."""
    root = photographs.write(tmp_path / "root", {"apple": 3, "bear": 2})
    for seed, file in enumerate(sorted(root.glob("masks/*/*.png"))):
        (tmp_path / "maps" / file.parent.name).mkdir(parents=True, exist_ok=True)
        found = benchmark.blurred(np.asarray(Image.open(file)), seed, 0.5)
        Image.fromarray(found).save(tmp_path / "maps" / file.parent.name / file.name)
    return tmp_path / "maps", root / "masks"


def by_hand(maps, masks, size, convention="paper"):
    scored = []
    for file in masks.glob("*/*.png"):
        found, mask = (np.asarray(Image.open(root / file.parent.name / file.name)) for root in (maps, masks))
        scored.append(((file.parent.name, file.stem), pysod.score_map_at(found, mask, None, size, convention)))
    return aggregate.Scores.of(scored).overall()


@pytest.mark.parametrize("convention", score.CONVENTIONS)
@pytest.mark.parametrize("size", [None, 32])
def test_folders_are_scored_as_their_maps_are(pair, size, convention):
    found = compare_folders(*pair, size=size, convention=convention)
    assert found.scores.overall() == by_hand(*pair, size and (size, size), convention)
    assert found.content()["convention"] == convention
    assert found.sentences() == []
    assert json.loads(json.dumps(found.content()))["images"] == 5


def test_what_is_left_out_is_named(pair):
    maps, masks = pair
    (maps / "apple" / "0000.png").rename(maps / "apple" / "other.png")
    (maps / "bear" / "0001.png").write_bytes(b"broken")
    found = compare_folders(maps, masks)
    assert found.missing == [("apple", "0000")] and found.extra == [("apple", "other")]
    assert list(found.unusable) == [("bear", "0001")] and found.scores.images == 3
    said = " ".join(found.sentences())
    assert "apple/0000" in said and "apple/other" in said and "bear/0001" in said


def test_void_pixels_are_left_out(pair, tmp_path):
    maps, masks = pair
    for file in masks.glob("*/*.png"):
        (tmp_path / "void" / file.parent.name).mkdir(parents=True, exist_ok=True)
        void = np.full(images.read_size(file.read_bytes()), 255, np.uint8)
        Image.fromarray(void).save(tmp_path / "void" / file.parent.name / file.name)
    assert compare_folders(maps, masks, tmp_path / "void").scores.overall()["mae"] == 0


def test_a_folder_that_is_not_there_is_named(pair, tmp_path):
    with pytest.raises(FolderError, match="nowhere"):
        compare_folders(tmp_path / "nowhere", pair[1])
