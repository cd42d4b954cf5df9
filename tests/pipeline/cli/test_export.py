import os
from io import BytesIO

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from icnet import images
from pipeline import tables
from pipeline.cli.export import ExportError, export_cutouts, export_maps, name_png
from pipeline.cli.output import OutputError
from tests.helpers import photographs


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    return make_collection(tmp_path_factory.mktemp("export"))


def make_collection(folder):
    root = photographs.write(folder / "photos", {"apple": 2, "bear tree": 1}, 20, 30)
    index = photographs.index(root, folder / "index")
    write_maps(folder / "maps", tables.read_table(index).to_pylist())
    return folder


def write_maps(table, rows):
    gray = [
        {"group": row["group"], "name": row["name"], "map": images.encode(np.full((row["height"], 30), 77, np.uint8))}
        for row in rows
    ]
    tables.write_table(table, pa.Table.from_pylist(gray, schema=tables.MAPS), [])


def list_files(folder):
    return sorted(name for name in photographs.files(folder) if not name.startswith(".cosal/"))


def test_maps_become_png_files(collection, tmp_path):
    assert export_maps(collection / "maps", tmp_path) == 3
    assert list_files(tmp_path) == ["apple/0000.png", "apple/0001.png", "bear tree/0000.png"]
    map_ = images.decode_gray((tmp_path / "apple" / "0001.png").read_bytes())
    assert map_.shape == (21, 30)
    assert set(map_.ravel().tolist()) == {77}


def test_a_samples_table_gives_its_sisms_or_the_column_asked_for(tmp_path):
    samples = photographs.samples(tmp_path / "samples", {"apple": 2}, 16)
    row = tables.read_table(samples).to_pylist()[0]
    export_maps(samples, tmp_path / "sisms")
    export_maps(samples, tmp_path / "masks", "mask")
    assert (tmp_path / "sisms" / "apple" / "0000.png").read_bytes() == row["sism"]
    assert (tmp_path / "masks" / "apple" / "0000.png").read_bytes() == row["mask"]
    for column in ("map", "digest", "height"):
        with pytest.raises(ExportError, match=f"no column '{column}' of images, it has: image, sism, mask"):
            export_maps(samples, tmp_path / "maps", column)


def test_a_cutout_is_the_image_at_its_original_size_with_the_map_as_transparency(collection, tmp_path):
    assert export_cutouts(collection / "maps", collection / "index", tmp_path) == 3
    with Image.open(BytesIO((tmp_path / "bear tree" / "0000.png").read_bytes())) as cutout:
        pixels = np.asarray(cutout)
    original = images.decode((collection / "photos" / "images" / "bear tree" / "0000.png").read_bytes())
    assert np.array_equal(pixels[..., :3], original)
    assert set(pixels[..., 3].ravel().tolist()) == {77}


def test_cutouts_need_co_saliency_maps_of_the_images_of_the_index(collection, tmp_path):
    samples = photographs.samples(tmp_path / "samples", {"apple": 2}, 16)
    with pytest.raises(ExportError, match="is no table of co-saliency maps"):
        export_cutouts(samples, collection / "index", tmp_path / "out")
    write_maps(tmp_path / "maps", [{"group": "cat", "name": "1", "height": 20}])
    with pytest.raises(ExportError, match=r"cat/1 of .* is no image of"):
        export_cutouts(tmp_path / "maps", collection / "index", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("group", "name"), [("..", "x"), ("a", "../../x"), ("a//b", "x"), ("a/../../b", "x"), ("/a", "x"), (".", "x")]
)
def test_no_name_leads_out_of_the_folder(group, name):
    with pytest.raises(ExportError, match="not the name of a file"):
        name_png(group, name)


@pytest.mark.parametrize("below", ["photos/images", "photos", "photos/images/new"])
def test_cutouts_are_never_written_among_the_photographs(tmp_path, below):
    folder = make_collection(tmp_path)
    before = photographs.files(folder)
    with pytest.raises(OutputError, match="a folder of inputs"):
        export_cutouts(folder / "maps", folder / "index", folder / below)
    assert photographs.files(folder) == before


def test_maps_are_never_written_over_files_of_others(collection, tmp_path):
    (tmp_path / "apple").mkdir()
    (tmp_path / "apple" / "0001.png").write_bytes(b"a photograph")
    with pytest.raises(OutputError, match="was not written by cosal"):
        export_maps(collection / "maps", tmp_path)
    assert list_files(tmp_path) == ["apple/0001.png"]


def test_a_hard_link_to_a_photograph_is_recognized(tmp_path):
    folder = make_collection(tmp_path)
    (tmp_path / "out" / "apple").mkdir(parents=True)
    os.link(folder / "photos" / "images" / "apple" / "0000.png", tmp_path / "out" / "apple" / "0000.png")
    with pytest.raises(OutputError, match="is one of the inputs"):
        export_cutouts(folder / "maps", folder / "index", tmp_path / "out")


def test_nothing_is_written_through_a_link(collection, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "apple").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="is a link"):
        export_maps(collection / "maps", tmp_path / "out")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_second_export_removes_old_files_and_keeps_those_of_others(tmp_path):
    folder = make_collection(tmp_path)
    export_maps(folder / "maps", tmp_path / "out")
    (tmp_path / "out" / "bear tree" / "notes.txt").write_text("mine")
    rows = tables.read_table(folder / "index").to_pylist()
    write_maps(folder / "maps", [row for row in rows if row["name"] == "0001"])
    assert export_maps(folder / "maps", tmp_path / "out") == 1
    assert list_files(tmp_path / "out") == ["apple/0001.png", "bear tree/notes.txt"]


def test_cutouts_of_photographs_that_changed_after_indexing_are_refused(tmp_path):
    folder = make_collection(tmp_path)
    (folder / "photos" / "images" / "apple" / "0000.png").write_bytes(b"another photograph")
    with pytest.raises(tables.OriginalError, match="changed after it was indexed"):
        export_cutouts(folder / "maps", folder / "index", tmp_path / "out")
