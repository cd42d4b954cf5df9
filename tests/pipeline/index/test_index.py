"""Stage index: what is found in a collection, and what is rejected."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline import tables
from pipeline.index.check import CHUNK_SIZE, FileCheck, check_entries
from pipeline.index.config import IndexConfig
from pipeline.index.layouts import CollectionError, Dataset, find_folders
from pipeline.index.stage import index_collection
from pipeline.index.walk import walk_groups
from pipeline.runtime import params
from pipeline.sism.config import SismConfig
from pipeline.sism.stage import make_samples
from pipeline.tables import originals
from tests.helpers import badfiles

ENCODED = badfiles.file(badfiles.photograph(), "JPEG")


def plain(root: Path, groups: dict[str, int], images: str = "images", masks: str | None = "masks") -> Path:
    """A collection of such groups in two folders."""
    for group, count in groups.items():
        (root / images / group).mkdir(parents=True, exist_ok=True)
        if masks:
            (root / masks / group).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (root / images / group / f"{number}.jpg").write_bytes(ENCODED)
            if masks:
                (root / masks / group / f"{number}.png").write_bytes(badfiles.mask())
    return root


def make(root: Path, out: Path, config: dict | None = None, **dataset) -> tuple[list[dict], list[dict]]:
    """Rows and rejects of the stage."""
    index_collection(root, out, Dataset(root=str(root), **dataset), IndexConfig(**(config or {})))
    return tables.read_table(out).to_pylist(), tables.read_rejects(out).to_pylist()


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """The collection of bad files, indexed: its folder, the fates, rows by image, reasons by path."""
    folder = tmp_path_factory.mktemp("zoo")
    fates = badfiles.write(folder / "collection")
    rows, rejects = make(folder / "collection", folder / "index")
    reasons: dict[str, list[str]] = {}
    for row in rejects:
        reasons.setdefault(row["path"], []).append(row["reason"])
    return folder, fates, {row["image"]: row for row in rows}, reasons


def test_every_kind_of_bad_file_is_refused_with_its_sentence_or_kept(zoo):
    _, fates, rows, reasons = zoo
    assert sum(fate.stage == "index" for fate in fates.values()) >= 20
    for path, fate in fates.items():
        assert (path in rows) == (fate.kept or fate.stage == "sism"), path
        said = reasons.get(path, [])
        assert len(said) == (fate.stage == "index"), path
        assert all(fate.reason in reason for reason in said), path


def test_what_the_index_cannot_see_is_refused_by_the_stage_that_decodes(zoo, ray_session, tmp_path):
    folder, fates, rows, _ = zoo
    make_samples(folder / "index", tmp_path / "samples", SismConfig(method="ones", num_actors=1), 32)
    refused = {row["path"]: row["reason"] for row in tables.read_rejects(tmp_path / "samples").to_pylist()}
    assert set(refused) == {path for path, fate in fates.items() if fate.stage == "sism"}
    assert all(fates[path].reason in reason for path, reason in refused.items())
    made = tables.read_table(tmp_path / "samples", ["group", "name"]).to_pylist()
    kept = [rows[path] for path, fate in fates.items() if fate.kept]
    assert {(row["group"], row["name"]) for row in made} == {(row["group"], row["name"]) for row in kept}


def test_nothing_else_is_rejected_or_kept(zoo):
    _, fates, rows, reasons = zoo
    assert set(reasons) <= set(fates)
    assert set(rows) <= set(fates)


def test_a_row_is_the_image_upright_with_its_mask(zoo):
    folder, _, rows, _ = zoo
    for path, row in rows.items():
        assert (row["height"], row["width"]) == badfiles.SIZE
        assert row["bytes"] == (folder / "collection" / path).stat().st_size
        assert row["void"] is None
    assert rows["images/odd/exif.2.png"]["mask"] == "masks/odd/exif.2.png"
    assert rows["images/masks/suffixed.jpg"]["mask"] == "masks/masks/suffixed_GT.png"
    assert rows["images/masks/unmasked.jpg"]["mask"] is None
    assert rows["images/odd/decomposed e\u0301.jpg"]["name"] == "decomposed \u00e9"


def test_a_group_that_loses_all_its_images_is_named(tmp_path, capsys):
    badfiles.write(tmp_path / "collection")
    make(tmp_path / "collection", tmp_path / "index")
    said = capsys.readouterr().out
    assert "group 'lost' lost all its images" in said and "group 'empty' lost all its images" in said
    assert "files rejected, listed in" in said and "images in 3 groups" in said


def test_the_table_is_sorted_and_the_same_each_time_with_any_number_of_threads(zoo, tmp_path):
    folder, _, rows, _ = zoo
    keys = [(row["group"], row["name"]) for row in tables.read_table(folder / "index").to_pylist()]
    assert keys == sorted(keys) and len(set(keys)) == len(keys) == len(rows)
    for threads in (1, 5):
        make(folder / "collection", tmp_path / str(threads), {"num_threads": threads})
        for file in ("shard-000000.parquet", "rejects.parquet", "manifest.json"):
            assert (tmp_path / str(threads) / file).read_bytes() == (folder / "index" / file).read_bytes()


def test_a_file_of_other_bytes_and_the_same_time_and_length_changes_its_row_and_no_other(tmp_path):
    root = plain(tmp_path / "c", {"cat": 2, "dog": 2})
    before, _ = make(root, tmp_path / "before")
    for path in ("images/cat/1.jpg", "masks/dog/0.png"):
        file = root / path
        stamp, data = file.stat(), bytearray(file.read_bytes())
        data[-3] ^= 1
        file.write_bytes(data)
        os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    after, _ = make(root, tmp_path / "after")
    assert [old != new for old, new in zip(before, after, strict=True)] == [False, True, True, False]
    assert tables.load_manifest(tmp_path / "before")["content"] != tables.load_manifest(tmp_path / "after")["content"]


def test_copying_a_collection_elsewhere_keeps_its_table(tmp_path):
    root = plain(tmp_path / "c", {"cat": 2})
    shutil.copytree(root, tmp_path / "moved")
    assert make(root, tmp_path / "a") == make(tmp_path / "moved", tmp_path / "b")
    first, second = (tables.load_manifest(tmp_path / out) for out in "ab")
    assert first["content"] == second["content"]
    assert (first["root"], second["root"]) == (str(root), str(tmp_path / "moved"))


def test_strict_makes_any_reject_an_error_after_printing_all_of_them(tmp_path, capsys):
    root = plain(tmp_path / "c", {"cat": 2})
    make(root, tmp_path / "fine", {"strict": True})
    for number in range(7):
        (root / "images" / "cat" / f"bad {number}.jpg").write_bytes(b"")
    with pytest.raises(CollectionError, match=r"7 files were rejected and index\.strict is set"):
        make(root, tmp_path / "out", {"strict": True})
    said = capsys.readouterr().out
    assert all(f"bad {number}.jpg': is empty" in said for number in range(7))
    assert tables.read_rejects(tmp_path / "out").num_rows == 7


def test_files_larger_or_pictures_smaller_than_the_params_say_are_refused(tmp_path):
    root = plain(tmp_path / "c", {"cat": 1})
    (root / "images" / "cat" / "huge.jpg").write_bytes(ENCODED + bytes(2 << 20))
    (root / "images" / "cat" / "small.jpg").write_bytes(badfiles.file(badfiles.photograph(0, (40, 20)), "JPEG"))
    _, rejects = make(root, tmp_path / "out", {"max_megabytes": 1, "min_side": 30})
    reasons = {row["path"]: row["reason"] for row in rejects}
    assert reasons == {
        "images/cat/huge.jpg": "is larger than index.max_megabytes allows: 2 MiB",
        "images/cat/small.jpg": "is smaller than index.min_side allows: 40 x 20 px",
    }


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


def list_entries(root):
    return [entry for group in walk_groups(root, find_folders(root, "plain")) for entry in group.entries]


def test_a_file_that_cannot_be_read_stops_the_stage_and_is_no_reject(tmp_path, monkeypatch):
    root = plain(tmp_path / "c", {"cat": 2})
    entries, away = list_entries(root), root / "images" / "cat" / "1.jpg"
    away.rename(tmp_path / "away")
    monkeypatch.setattr(originals, "RETRY_DELAYS", (0.01,))
    with pytest.raises(tables.OriginalError, match=r"images/cat/1\.jpg cannot be read: No such file or directory"):
        FileCheck(root, IndexConfig())(entries)
    (tmp_path / "away").rename(away)
    assert [row["name"] for row in FileCheck(root, IndexConfig())(entries)] == ["0", "1"]


def test_a_file_that_is_away_for_a_moment_is_read_at_a_later_attempt(tmp_path, monkeypatch):
    root = plain(tmp_path / "c", {"cat": 1})
    entries, away = list_entries(root), root / "images" / "cat" / "0.jpg"
    away.rename(tmp_path / "away")
    monkeypatch.setattr(originals.time, "sleep", lambda seconds: (tmp_path / "away").rename(away))
    assert [row["name"] for row in FileCheck(root, IndexConfig())(entries)] == ["0"]


def test_only_a_few_chunks_are_in_memory_at_any_time():
    running, most = set(), []

    def check(chunk):
        most.append(len(running))
        return [{"number": number} for number in chunk]

    def numbers():
        for number in range(5000):
            running.add(number)
            yield number

    for results in check_entries(numbers(), check, threads=2):
        running -= {row["number"] for row in results}
    assert max(most) <= CHUNK_SIZE * 8 and not running


def test_unknown_layouts_and_wrong_types_are_named_by_their_place(tmp_path):
    file = tmp_path / "params.yaml"
    for section, words in [
        ({"root": "x", "layout": "imagenet"}, "`datasets.a.layout`.*expected plain, coco9213"),
        ({"root": "x", "layout": {"pictures": "x"}}, "datasets.a.layout"),
        ({"root": "x", "exclude": "tree"}, "`datasets.a.exclude`"),
        ({}, "`datasets.a.root` is missing"),
    ]:
        file.write_text(yaml.safe_dump({"datasets": {"a": section}}))
        with pytest.raises(params.ParamsError, match=words):
            params.load_section("datasets.a", Dataset, file)


def test_the_command_reads_params_and_prints_a_short_summary(tmp_path, root):
    plain(tmp_path / "photos", {"cat": 2, "dog": 1})
    content = {"datasets": {"mine": {"root": "photos", "exclude": ["dog"]}}, "index": {"num_threads": 2}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    command = [sys.executable, "-m", "pipeline.index", "mine", "out"]
    environment = {**os.environ, "PYTHONPATH": str(root)}

    def run():
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    done = run()
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "index: 2 images in 1 group, 2 with a mask"
    assert tables.load_manifest(tmp_path / "out")["rows"] == 2
    content["datasets"]["mine"]["root"] = "nowhere"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    failed = run()
    assert failed.returncode == 1 and "there is no folder nowhere: set datasets." in failed.stderr
    assert "Traceback" not in failed.stderr


def test_the_reference_collections_are_whole(shared, tmp_path):
    for name, images, groups, void in [("msrc", 210, 7, 210), ("pascal_coseg", 1037, 20, 0)]:
        rows, rejects = make(shared / "data" / name, tmp_path / name)
        assert (len(rows), len({row["group"] for row in rows}), rejects) == (images, groups, [])
        assert sum(row["mask"] is not None for row in rows) == images
        assert sum(row["void"] is not None for row in rows) == void
