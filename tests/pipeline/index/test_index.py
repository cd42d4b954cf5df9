"""Stage index: what is found in a collection, and what is rejected."""

import os
import shutil
import subprocess
import sys

import pytest
import yaml

from pipeline import tables
from pipeline.index.check import CHUNK_SIZE, FileCheck, check_entries
from pipeline.index.config import IndexConfig
from pipeline.index.layouts import CollectionError, Dataset, find_folders
from pipeline.index.walk import walk_groups
from pipeline.runtime import params
from pipeline.sism.config import SismConfig
from pipeline.sism.stage import make_samples
from pipeline.tables import originals
from tests.helpers import badfiles
from tests.helpers.collection import ENCODED, make, plain


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
        "images/cat/huge.jpg": "is larger than index.max_megabytes allows: 2.0 MiB",
        "images/cat/small.jpg": "is smaller than index.min_side allows: 40 x 20 px",
    }


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


def test_a_number_of_threads_that_no_machine_has_is_refused():
    with pytest.raises(ValueError, match="num_threads"):
        IndexConfig(num_threads=2_000_000_000)
