from io import BytesIO

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from icnet import images
from pipeline import tables
from pipeline.cli.export import ExportError, export_cutouts, export_maps, make_path
from tests.helpers import photographs


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    root = photographs.write(folder / "photos", {"apple": 2, "bear tree": 1}, 20, 30)
    index = photographs.index(root, folder / "index")
    rows = [
        {"group": row["group"], "name": row["name"], "map": images.encode(np.full((row["height"], 30), 77, np.uint8))}
        for row in tables.read_table(index).to_pylist()
    ]
    tables.write_table(folder / "maps", pa.Table.from_pylist(rows, schema=tables.MAPS), [])
    return folder


def test_maps_become_a_tree_of_png_files(collection, tmp_path):
    assert export_maps(collection / "maps", tmp_path) == 3
    assert sorted(photographs.files(tmp_path)) == ["apple/0000.png", "apple/0001.png", "bear tree/0000.png"]
    found = images.decode_gray((tmp_path / "apple" / "0001.png").read_bytes())
    assert found.shape == (21, 30)
    assert set(found.ravel().tolist()) == {77}


def test_a_samples_table_gives_its_sisms_or_the_column_asked_for(tmp_path):
    samples = photographs.samples(tmp_path / "samples", {"apple": 2}, 16)
    row = tables.read_table(samples).to_pylist()[0]
    export_maps(samples, tmp_path / "sisms")
    export_maps(samples, tmp_path / "masks", "mask")
    assert (tmp_path / "sisms" / "apple" / "0000.png").read_bytes() == row["sism"]
    assert (tmp_path / "masks" / "apple" / "0000.png").read_bytes() == row["mask"]
    with pytest.raises(ExportError, match="no column 'map'"):
        export_maps(samples, tmp_path / "maps", "map")


def test_a_cutout_is_the_image_at_its_original_size_with_the_map_as_transparency(collection, tmp_path):
    assert export_cutouts(collection / "maps", collection / "index", tmp_path) == 3
    with Image.open(BytesIO((tmp_path / "bear tree" / "0000.png").read_bytes())) as cutout:
        pixels = np.asarray(cutout)
    original = images.decode((collection / "photos" / "images" / "bear tree" / "0000.png").read_bytes())
    assert np.array_equal(pixels[..., :3], original)
    assert set(pixels[..., 3].ravel().tolist()) == {77}


@pytest.mark.parametrize(("group", "name"), [("..", "x"), ("a", "../../x"), ("a/b", "x"), (".", "x")])
def test_no_name_leads_out_of_the_folder(tmp_path, group, name):
    with pytest.raises(ExportError, match="no file name below"):
        make_path(tmp_path, group, name)
