"""Stage index: layouts of a collection, and what belongs to it."""

import shutil

import pytest

from pipeline.index.layouts import CollectionError
from tests.helpers import badfiles
from tests.helpers.collection import ENCODED, make, plain


def test_a_collection_without_masks_is_indexed_for_prediction_without_rejects(tmp_path):
    rows, rejects = make(plain(tmp_path / "c", {"cat": 2, "dog": 1}, masks=None), tmp_path / "out")
    assert [row["mask"] for row in rows] == [None] * 3 and rejects == []


def test_group_folders_without_an_images_folder_are_a_collection(tmp_path):
    rows, _ = make(plain(tmp_path / "c", {"cat": 1, "dog": 1}, images=".", masks=None), tmp_path / "out")
    assert [(row["group"], row["image"]) for row in rows] == [("cat", "cat/0.jpg"), ("dog", "dog/0.jpg")]


def test_one_folder_of_photographs_is_one_group_named_after_it(tmp_path):
    rows, rejects = make(plain(tmp_path, {"holiday 2020": 3}, ".", None) / "holiday 2020", tmp_path / "out")
    assert [(row["group"], row["image"]) for row in rows] == [("holiday 2020", f"{n}.jpg") for n in range(3)]
    assert rejects == []


def test_images_and_masks_without_group_folders_are_one_group(tmp_path):
    rows, rejects = make(plain(tmp_path / "pets", {".": 2}), tmp_path / "out")
    assert [(row["group"], row["mask"]) for row in rows] == [("pets", "masks/0.png"), ("pets", "masks/1.png")]
    assert rejects == []


def test_void_masks_are_found_and_must_fit(tmp_path):
    root = plain(tmp_path / "c", {"cat": 2})
    (root / "void" / "cat").mkdir(parents=True)
    (root / "void" / "cat" / "0.png").write_bytes(badfiles.mask())
    rows, rejects = make(root, tmp_path / "out")
    assert [row["void"] for row in rows] == ["void/cat/0.png", None] and rejects == []
    (root / "void" / "cat" / "1.png").write_bytes(badfiles.mask((5, 9)))
    rows, rejects = make(root, tmp_path / "again")
    assert len(rows) == 1
    reasons = {row["path"]: row["reason"] for row in rejects}
    assert reasons.keys() == {"void/cat/1.png", "images/cat/1.jpg", "masks/cat/1.png"}
    assert "is a void of another size than its image: 5 x 9 px" in reasons["void/cat/1.png"]
    assert reasons["masks/cat/1.png"] == "is left out with 'void/cat/1.png'"


@pytest.mark.parametrize(
    ("layout", "images", "masks"),
    [
        ("COCO9213", "img", "gt"),
        ("Cosal2015", "Image", "GroundTruth"),
        ("cosal2015", "Image", "GT"),
        ("iCoseg", "images", "ground_truth"),
        ("icoseg", "dataset_public/images", "dataset_public/ground_truth"),
        ("iCoseg", "Image", "GroundTruth"),
        ("MSRC", "Image", "GroundTruth"),
        ("CoSOD3k", "Image", "GroundTruth"),
        ("CoSOD3k", "image", "groundtruth"),
        ("CoCA", "image", "binary"),
        ("CoCA", "images/CoCA", "gts/CoCA"),
    ],
)
def test_published_layouts_are_found_by_name(tmp_path, layout, images, masks):
    root = plain(tmp_path / "c", {"Accordion": 1, "Zebra": 2}, images, masks)
    for neighbor in ("bbox", "instance", "sal", "SegmentationObject"):
        plain(root, {"Accordion": 1}, neighbor, None)
    rows, rejects = make(root, tmp_path / "out", layout=layout)
    assert [row["group"] for row in rows] == ["Accordion", "Zebra", "Zebra"]
    assert rows[0]["image"] == f"{images}/Accordion/0.jpg" and rows[0]["mask"] == f"{masks}/Accordion/0.png"
    assert rejects == []


def test_any_other_layout_is_a_mapping(tmp_path):
    root = plain(tmp_path / "c", {"cat": 1}, "photos/rgb", "labels")
    layout = {"images": "photos/rgb", "masks": "labels"}
    rows, _ = make(root, tmp_path / "out", layout=layout)
    assert rows[0]["image"] == "photos/rgb/cat/0.jpg" and rows[0]["mask"] == "labels/cat/0.png"
    with pytest.raises(CollectionError, match=r"no folder nowhere in .*, which datasets.<name>.layout names"):
        make(root, tmp_path / "out", layout={"images": "nowhere"})


def test_excluded_groups_are_left_out_and_a_misspelt_one_is_an_error(tmp_path):
    root = plain(tmp_path / "c", {"cat": 1, "tree": 3})
    rows, rejects = make(root, tmp_path / "out", exclude=["tree"])
    assert [row["group"] for row in rows] == ["cat"] and rejects == []
    with pytest.raises(CollectionError, match="there is no group treee in"):
        make(root, tmp_path / "out", exclude=["treee"])


def test_nothing_leads_out_of_the_collection(tmp_path):
    secret = plain(tmp_path / "secret", {"cat": 1})
    root = plain(tmp_path / "c", {"dog": 1})
    (root / "images" / "cat").symlink_to(secret / "images" / "cat")
    (root / "masks" / "cat").symlink_to(secret / "masks" / "cat")
    shutil.rmtree(root / "masks" / "dog")
    (root / "masks" / "dog").symlink_to(secret / "masks" / "cat")
    rows, rejects = make(root, tmp_path / "out")
    assert [(row["group"], row["mask"]) for row in rows] == [("dog", None)]
    assert {row["path"] for row in rejects} == {"images/cat", "masks/cat", "masks/dog", "images/dog/0.jpg"}
    for layout in ({"images": "../secret/images"}, {"images": str(secret / "images")}):
        with pytest.raises(CollectionError, match="is outside"):
            make(root, tmp_path / "out", layout=layout)
    (tmp_path / "linked").symlink_to(root)
    assert len(make(tmp_path / "linked", tmp_path / "out")[0]) == 1


@pytest.mark.parametrize("case", ["missing", "empty", "only masks", "no pictures", "repository", "published"])
def test_a_root_that_is_no_collection_is_an_error_that_says_what_to_change(tmp_path, case):
    root, layout = tmp_path / "c", "plain"
    if case != "missing":
        root.mkdir()
    if case == "only masks":
        (root / "masks").mkdir()
    if case == "no pictures":
        plain(root, {"cat": 0})
    if case == "repository":
        plain(root, {"Accordion": 2}, "image", "binary")
    if case == "published":
        layout = "coca"
    with pytest.raises(CollectionError) as error:
        make(root, tmp_path / "out", layout=layout)
    assert str(root) in str(error.value)
    assert any(word in str(error.value) for word in ("datasets.<name>", "images/", "image/<group>/"))


def test_two_spellings_of_one_name_are_one_image(tmp_path):
    root = plain(tmp_path / "c", {"cafe\u0301": 1})
    (root / "images" / "cafe\u0301" / "e\u0301.jpg").write_bytes(ENCODED)
    (root / "images" / "cafe\u0301" / "\u00e9.jpg").write_bytes(ENCODED)
    (root / "masks" / "cafe\u0301" / "\u00e9.png").write_bytes(badfiles.mask())
    (root / "images" / "caf\u00e9").mkdir()
    rows, rejects = make(root, tmp_path / "out")
    assert [(row["group"], row["name"]) for row in rows] == [("caf\u00e9", "0"), ("caf\u00e9", "\u00e9")]
    assert rows[1]["mask"] == "masks/cafe\u0301/\u00e9.png"
    assert sorted(row["reason"].partition(":")[0] for row in rejects) == [
        "has the name of another file",
        "has the name of another folder",
    ]


def test_a_group_of_one_and_a_hundred_groups_are_fine(tmp_path):
    rows, rejects = make(plain(tmp_path / "c", {f"g{n:03d}": 1 for n in range(100)}), tmp_path / "out")
    assert len({row["group"] for row in rows}) == 100 and rejects == []
