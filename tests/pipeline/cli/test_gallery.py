import hashlib
import json
import os
import shutil

import pytest

from pipeline import tables
from tests.helpers import cosal, photographs
from tests.helpers.galleries import HOSTILE, PageParser, write_tables


def predict(photos, out, model, *more):
    return cosal.predict(photos, out, model, "--no-ray", *more)


def list_thumbnails(folder):
    return sorted(name for name in photographs.files(folder) if name.startswith("index_files/"))


@pytest.fixture(scope="module")
def predicted(model, tmp_path_factory):
    """A folder with `photos` of hostile names and their results in `out`."""
    folder = tmp_path_factory.mktemp("hostile")
    names = [name.replace("/", "_") for name in HOSTILE]
    (folder / "photos").mkdir()
    photographs.write(folder / "made", {str(number): 2 for number in range(len(names))})
    for number, name in enumerate(names):
        (folder / "made" / "images" / str(number)).rename(folder / "photos" / name)
    first = folder / "photos" / names[0]
    (first / "0001.png").rename(first / f"{names[1]}.png")
    (first / "broken <b>.jpg").write_bytes(b"no picture")
    shutil.rmtree(folder / "made")
    before = photographs.files(folder)
    result = predict(folder / "photos", folder / "out", model)
    after = photographs.files(folder)
    assert {name: data for name, data in after.items() if not name.startswith("out/")} == before
    assert result.stdout.splitlines()[-1] == f"open {folder / 'out' / 'index.html'} in a browser to look at them"
    return folder


def test_every_link_of_the_page_leads_to_a_file(predicted):
    parser = PageParser((predicted / "out" / "index.html").read_text())
    linked = {os.path.normpath(name) for name in parser.list_files()}
    written = set(photographs.files(predicted / "out"))
    assert linked <= written
    assert {name for name in written if not name.startswith(".cosal/")} - linked == {"index.html", "scores.csv"}
    assert parser.tags.count("script") == 1 and not parser.events


def test_the_page_names_rejects_model_and_command(predicted, model):
    text = (predicted / "out" / "index.html").read_text()
    assert "broken &lt;b&gt;.jpg" in text
    assert hashlib.sha256(model.read_bytes()).hexdigest() in text
    assert f"--model {model} --sism ones --no-ray" in text


def test_a_rerun_gives_the_same_bytes(predicted, model):
    before = photographs.files(predicted / "out")
    predict(predicted / "photos", predicted / "out", model)
    after = photographs.files(predicted / "out")
    names = [name for name in before if not name.startswith(".cosal/") or name == ".cosal/files.json"]
    assert [name for name in names if before[name] != after.get(name)] == []


def test_a_rerun_removes_only_its_own_files(model, tmp_path):
    photos = photographs.write(tmp_path / "photos", {"apple": 3}) / "images"
    predict(photos, tmp_path / "out", model)
    assert len(list_thumbnails(tmp_path / "out")) == 9
    (tmp_path / "out" / "index_files" / "mine.txt").write_text("notes")
    (photos / "apple" / "0001.png").unlink()
    assert "1 file of earlier runs was removed: apple/0001.png\n" in predict(photos, tmp_path / "out", model).stdout
    assert len(list_thumbnails(tmp_path / "out")) == 6 + 1
    result = predict(photos, tmp_path / "out", model, "--no-gallery")
    assert "open " not in result.stdout and "index.html" in result.stdout
    assert list_thumbnails(tmp_path / "out") == ["index_files/mine.txt"]
    assert not (tmp_path / "out" / "index.html").exists()


def test_a_page_of_somebody_else_is_not_replaced(model, tmp_path, monkeypatch):
    photos = photographs.write(tmp_path / "photos", {"apple": 1}) / "images"
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "index.html").write_text("mine")
    with pytest.raises(ValueError, match="was not written by cosal"):
        predict(photos, tmp_path / "out", model)
    assert predict(photos, tmp_path / "out", model, "--no-gallery").exit_code == 0
    assert (tmp_path / "out" / "index.html").read_text() == "mine"


def test_unreliable_groups_and_the_page_are_in_the_summary(model, tmp_path):
    photos = photographs.write(tmp_path / "photos", {"apple": 1}) / "images"
    summary = json.loads(predict(photos, tmp_path / "out", model, "--json").stdout)
    assert summary["page"] == "index.html"


@pytest.mark.parametrize("layout", ["beside", "stages", "option"])
def test_a_maps_table_becomes_the_same_page(tmp_path, layout):
    maps, arguments = write_tables(tmp_path / "tables", {"apple": 3, "bear": 1}, saliency=0.01), []
    if layout == "stages":
        for kind in ("samples", "maps"):
            (tmp_path / kind).mkdir()
            (tmp_path / "tables" / kind).rename(tmp_path / kind / "pets")
        maps = tmp_path / "maps" / "pets"
    elif layout == "option":
        (tmp_path / "tables" / "samples").rename(tmp_path / "elsewhere")
        with pytest.raises(tables.TableError, match="no samples table beside"):
            cosal.run("gallery", maps, tmp_path / "out")
        arguments = ["--samples", tmp_path / "elsewhere"]
    result = cosal.run("gallery", maps, tmp_path / "out", *arguments)
    assert result.stdout == f"4 photographs: open {tmp_path / 'out' / 'index.html'} in a browser\n"
    text = (tmp_path / "out" / "index.html").read_text()
    assert "ab12" in text and "2 groups with unreliable maps" in text
    assert set(PageParser(text).list_files()) == {f"./{name}" for name in list_thumbnails(tmp_path / "out")}
