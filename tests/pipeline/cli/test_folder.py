import csv
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import icnet
from pipeline import tables
from pipeline.cli.app import app, main
from pipeline.cli.output import OutputFolder
from tests.helpers import photographs
from tests.helpers.cosal import predict, run


def read_csv(file):
    with file.open(newline="") as handle:
        return list(csv.DictReader(handle))


def list_files(folder):
    return sorted(name for name in photographs.files(folder) if not name.startswith((".cosal/", "index_files/")))


def test_a_folder_of_groups_becomes_maps_sheets_and_scores(model, tmp_path):
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
    rows = read_csv(tmp_path / "out" / "scores.csv")
    assert [(row["group"]) for row in rows] == ["apple"] * 3 + ["bear"]
    assert [float(row["weight"]) for row in rows[:3]] == sorted(float(row["weight"]) for row in rows[:3])
    assert [row["path"] for row in read_csv(tmp_path / "out" / "rejects.csv")] == ["bear/broken.jpg"]


def test_the_maps_are_those_of_the_network_in_python(model, tmp_path):
    photos = photographs.write(tmp_path / "photos", {"apple": 3}) / "images" / "apple"
    predict(photos, tmp_path / "out", model)
    files = sorted(photos.iterdir())
    found = icnet.load(model, sism_method="ones", precision="float32", device="cpu").predict(files)
    for file, map_ in zip(files, found.maps, strict=True):
        with Image.open(tmp_path / "out" / "apple" / f"{file.stem}.png") as written:
            assert np.array_equal(np.asarray(written), np.rint(map_ * 255).astype(np.uint8))
    weights = {row["name"]: row["weight"] for row in read_csv(tmp_path / "out" / "scores.csv")}
    assert [weights[file.stem] for file in files] == [f"{weight:.4f}" for weight in found.weights]


def test_a_folder_of_photographs_is_one_group_and_a_second_run_predicts_nothing(model, tmp_path):
    photos = photographs.write(tmp_path / "photos", {"apple": 3}) / "images" / "apple"
    for predicted in (3, 0):
        summary = json.loads(predict(photos, tmp_path / "out", model, "--json").stdout)
        assert (summary["maps"], summary["predicted"]) == (3, predicted)
    assert list_files(tmp_path / "out")[1:4] == ["apple/0000.png", "apple/0001.png", "apple/0002.png"]


def test_the_summary_counts_one_file_in_the_singular(model, tmp_path):
    photos = photographs.write(tmp_path / "photos", {"apple": 1}) / "images"
    (photos / "apple" / "broken.jpg").write_bytes(b"no picture")
    first, *_ = predict(photos, tmp_path / "out", model).stdout.splitlines()
    assert first == f"1 co-saliency map of 1 group in {tmp_path / 'out'}"
    result = predict(photos, tmp_path / "out", model)
    assert f"1 file could not be used, reasons in {tmp_path / 'out' / 'rejects.csv'}" in result.stdout


def test_results_of_renamed_groups_and_removed_photographs_go(model, tmp_path):
    photos = photographs.write(tmp_path / "photos", {"apple": 2, "bear": 2}) / "images"
    predict(photos, tmp_path / "out", model)
    (tmp_path / "out" / "bear" / "mine.txt").write_text("notes")
    (photos / "bear").rename(photos / "cat")
    (photos / "apple" / "0001.png").unlink()
    result = predict(photos, tmp_path / "out", model)
    assert "4 files of earlier runs were removed" in result.stdout
    assert list_files(tmp_path / "out") == [
        *("apple.jpg", "apple/0000.png", "bear/mine.txt", "cat.jpg", "cat/0000.png", "cat/0001.png"),
        *("index.html", "rejects.csv", "scores.csv"),
    ]


def test_names_that_are_too_long_for_a_map_or_a_sheet_are_rejects(model, tmp_path):
    photos = photographs.write(tmp_path / "photos", {"apple": 1}) / "images"
    long_name, long_group = "n" * 253, "g" * 253
    shutil.copytree(photos / "apple", photos / long_group)
    shutil.copy(photos / "apple" / "0000.png", photos / "apple" / long_name)
    assert predict(photos, tmp_path / "out", model).exit_code == 0
    rejects = read_csv(tmp_path / "out" / "rejects.csv")
    assert [row["path"] for row in rejects] == [f"apple/{long_name}", long_group]
    assert all("too long a name" in row["reason"] for row in rejects)
    assert (tmp_path / "out" / long_group / "0000.png").is_file()


def test_spreadsheets_do_not_run_names_as_formulas(model, tmp_path):
    photos = photographs.write(tmp_path / "photos", {"=1+1": 1}) / "images"
    predict(photos, tmp_path / "out", model)
    assert read_csv(tmp_path / "out" / "scores.csv")[0]["group"] == "'=1+1"


@pytest.mark.slow
def test_maps_are_the_same_bytes_on_ray_and_in_this_process(model, ray_session, tmp_path):
    photos = photographs.write(tmp_path / "photos", {"apple": 9, "bear": 1, "chair": 3}) / "images"
    picture = (photos / "apple" / "0001.png").read_bytes()
    (photos / "apple" / "0001.png").write_bytes(picture[: len(picture) // 2])
    for out, where in (("ray", "--ray"), ("threads", "--no-ray")):
        result = run("predict", photos, tmp_path / out, "--model", model, "--batch-size", 4, where)
        assert "12 co-saliency maps of 3 groups" in result.stdout
    files = [photographs.files(tmp_path / out) for out in ("ray", "threads")]
    results = [{name: data for name, data in found.items() if not name.startswith(".cosal/")} for found in files]
    pages = [found.pop("index.html").decode() for found in results]
    assert results[0] == results[1] and len(results[0]) == 12 + 3 + 2 + 3 * 12
    assert pages[0].replace("/ray ", "/threads ").replace("--ray", "--no-ray") == pages[1]


def test_nested_folders_are_groups_named_by_their_paths(model, tmp_path):
    made = photographs.write(tmp_path / "made", {"a": 1, "b": 2}) / "images"
    (tmp_path / "photos" / "trip").mkdir(parents=True)
    made.joinpath("a").rename(tmp_path / "photos" / "trip" / "day 1")
    made.joinpath("b", "0001.png").rename(tmp_path / "photos" / "trip" / "0001.png")
    made.joinpath("b").rename(tmp_path / "photos" / "home")
    assert predict(tmp_path / "photos", tmp_path / "out", model).exit_code == 0
    maps = [name for name in list_files(tmp_path / "out") if name.endswith(".png")]
    assert maps == ["home/0000.png", "trip/0001.png", "trip/day 1/0000.png"]
    assert not read_csv(tmp_path / "out" / "rejects.csv")


def test_image_files_are_one_group_named_after_their_folder(model, tmp_path):
    photos = photographs.write(tmp_path / "photos", {"apple": 3}) / "images" / "apple"
    files = [photos / "0000.png", photos / "0002.png"]
    assert run("predict", *files, tmp_path / "out", "--model", model, "--sism", "ones").exit_code == 0
    assert [name for name in list_files(tmp_path / "out") if name.endswith(".png")] == [
        *("apple/0000.png", "apple/0002.png")
    ]


@pytest.mark.parametrize("top", ["", "holiday/"])
def test_a_zip_archive_is_a_folder(model, tmp_path, top):
    photos = photographs.write(tmp_path / "photos", {"apple": 2, "bear": 1}) / "images"
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for file in photos.rglob("*.png"):
            archive.write(file, f"{top}{file.relative_to(photos)}")
        archive.writestr(f"{top}../../escaped.png", b"outside")
    assert predict(tmp_path / "photos.zip", tmp_path / "out", model).exit_code == 0
    maps = [name for name in list_files(tmp_path / "out") if name.endswith(".png")]
    assert maps == ["apple/0000.png", "apple/0001.png", "bear/0000.png"]
    assert not list(tmp_path.parent.glob("**/escaped.png"))


def test_rejects_change_the_exit_code_only_with_strict(model, tmp_path):
    photos = photographs.write(tmp_path / "photos", {"apple": 1}) / "images"
    (photos / "apple" / "broken.jpg").write_bytes(b"no picture")
    assert predict(photos, tmp_path / "out", model).exit_code == 0
    assert predict(photos, tmp_path / "out", model, "--strict").exit_code == 3
    assert CliRunner().invoke(app, ["predict", "--batch-size", "0"]).exit_code == 2


def make_flat_folder(folder):
    photographs.write(folder / "made", {"holiday": 2})
    (folder / "made" / "images" / "holiday").rename(folder / "holiday")
    shutil.rmtree(folder / "made")


def make_groups(folder, *groups):
    photographs.write(folder / "made", dict.fromkeys(groups, 1))
    (folder / "made" / "images").rename(folder / "photos")
    shutil.rmtree(folder / "made")


def make_hard_link(folder):
    make_groups(folder, "apple")
    (folder / "out" / "apple").mkdir(parents=True)
    (folder / "out" / "apple" / "0000.png").hardlink_to(folder / "photos" / "apple" / "0000.png")


def make_link(folder):
    make_groups(folder, "apple")
    (folder / "link").symlink_to("photos")


def make_linked_group(folder):
    make_groups(folder, "apple")
    (folder / "out").mkdir()
    (folder / "out" / "apple").symlink_to(folder / "photos" / "apple")


def make_foreign_file(folder):
    make_groups(folder, "apple")
    (folder / "out").mkdir()
    (folder / "out" / "scores.csv").write_text("mine")


@pytest.mark.parametrize(
    ("prepare", "photos", "out", "sentence"),
    [
        (make_flat_folder, "holiday", ".", "a folder of inputs"),
        (lambda folder: make_groups(folder, "apple"), "photos", "photos/out", "lies inside"),
        (make_link, "photos", "link", "lies inside"),
        (make_link, "link", "photos/out", "lies inside"),
        (make_hard_link, "photos", "out", "is one of the inputs"),
        (make_linked_group, "photos", "out", "is a link"),
        (make_foreign_file, "photos", "out", "was not written by cosal"),
        (lambda folder: make_groups(folder, "a", "a.jpg"), "photos", "out", "rename the group 'a.jpg'"),
        (lambda folder: make_groups(folder, "index.html"), "photos", "out", "rename the group 'index.html'"),
        (lambda folder: make_groups(folder, "scores.csv"), "photos", "out", "rename the group 'scores.csv'"),
        (lambda folder: make_groups(folder, "rejects.csv"), "photos", "out", "rename the group 'rejects.csv'"),
        (lambda folder: make_groups(folder, "apple"), "photos", "/proc/out", "cannot be written"),
        (lambda folder: (folder / "photos").mkdir(), "photos", "out", "no image"),
        (lambda folder: None, "photos", "out", "there is no file or folder photos"),
        (lambda folder: (folder / "photos.zip").write_bytes(b"PK\5\6" + bytes(18)), "photos.zip", "out", "no image"),
    ],
)
def test_a_folder_that_must_not_be_written_is_refused_before_the_first_byte(
    tmp_path, monkeypatch, capsys, prepare, photos, out, sentence
):
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = photographs.files(tmp_path)
    assert sentence in get_error(monkeypatch, capsys, "predict", photos, out)
    assert photographs.files(tmp_path) == before


def get_error(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["cosal", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("cosal: ")
    return error


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["predict", "photos", "out", "--model", "nothing.safetensors"], "there is no file nothing.safetensors"),
        (["predict", "photos", "out", "--model", "models:/icnet@champion"], "has no models:/icnet@champion"),
        (["export", "photos", "out"], "holds no finished table"),
    ],
)
def test_a_wrong_argument_is_answered_by_one_sentence(tmp_path, monkeypatch, capsys, arguments, sentence):
    photographs.write(tmp_path / "photos", {"apple": 1})
    monkeypatch.chdir(tmp_path)
    assert sentence in get_error(monkeypatch, capsys, *arguments)


def test_a_table_is_exported(tmp_path):
    samples = photographs.samples(tmp_path / "samples", {"apple": 2}, 16)
    assert "2 PNG files" in run("export", samples, tmp_path / "out").stdout
    assert len(tables.read_table(samples)) == len(list((tmp_path / "out" / "apple").glob("*.png")))


def test_a_collection_without_a_usable_file_is_answered_by_one_sentence(tmp_path, monkeypatch, capsys, model):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    monkeypatch.chdir(tmp_path)
    error = get_error(monkeypatch, capsys, "predict", "photos", "out", "--model", str(model))
    assert "none of 1 files" in error and "notes.txt" in error


def test_a_second_run_into_the_same_folder_is_refused_while_the_first_one_runs(model, tmp_path, monkeypatch, capsys):
    make_groups(tmp_path, "apple")
    monkeypatch.chdir(tmp_path)
    with OutputFolder(tmp_path / "out").lock():
        error = get_error(monkeypatch, capsys, "predict", "photos", "out", "--model", str(model))
    assert "is being written by process" in error


def test_the_console_script_is_installed(tmp_path):
    command = [str(Path(sys.executable).with_name("cosal")), "export", "nothing", "out"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("cosal: nothing holds no finished table")
