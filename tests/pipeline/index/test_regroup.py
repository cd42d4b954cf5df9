"""datasets.<name>.groups: a file of groups takes the place of the folders."""

import pytest

from pipeline import tables
from pipeline.index.config import IndexConfig
from pipeline.index.layouts import Dataset
from pipeline.index.stage import index_collection
from tests.helpers import photographs


def index(root, out, groups="groups.csv"):
    index_collection(root, out, Dataset(root=str(root), groups=groups), IndexConfig())
    return tables.read_table(out).to_pylist(), tables.read_rejects(out).to_pylist()


def test_images_and_masks_move_to_the_groups_of_the_file(tmp_path, capsys):
    root = photographs.write(tmp_path / "photographs", {"one": 3, "two": 2})
    (root / "groups.csv").write_text(
        "photo,group\nimages/one/0000.png,red\nimages/two/0000.png,red\nimages/one/0001.png,blue\n"
        "images/two/0001.png,unsorted\nimages/one/9999.png,blue\n"
    )
    rows, rejects = index(root, tmp_path / "index")
    assert [(row["group"], row["name"], row["image"], row["mask"]) for row in rows] == [
        ("blue", "0001", "images/one/0001.png", "masks/one/0001.png"),
        ("red", "images-one-0000", "images/one/0000.png", "masks/one/0000.png"),
        ("red", "images-two-0000", "images/two/0000.png", "masks/two/0000.png"),
    ]
    assert {row["path"]: row["reason"] for row in rejects} == {
        "images/two/0001.png": "is unsorted in groups.csv",
        "images/one/0002.png": "is not in groups.csv",
        "images/one/9999.png": "is in groups.csv, but is no image of the collection or left out",
    }
    assert "3 images in 2 groups" in capsys.readouterr().out


def test_groups_that_are_left_out_are_named_and_no_rejects(tmp_path, capsys):
    root = photographs.write(tmp_path / "photographs", {"one": 2, "two": 1})
    (root / "groups.csv").write_text("photo,group\nimages/one/0000.png,red\nimages/one/0001.png,red\n")
    index_collection(
        root,
        tmp_path / "index",
        Dataset(root=str(root), groups="groups.csv", exclude=["two"]),
        IndexConfig(strict=True),
    )
    assert len(tables.read_table(tmp_path / "index")) == 2
    assert "excluded: two (" in capsys.readouterr().out


def test_a_missing_file_of_groups_is_one_sentence(tmp_path):
    root = photographs.write(tmp_path / "photographs", {"one": 3})
    with pytest.raises(tables.GroupingError, match="cannot be read"):
        index(root, tmp_path / "index")
