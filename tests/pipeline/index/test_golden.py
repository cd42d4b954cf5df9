"""The index of a collection of problematic files is the one that was stored with this OUTPUT_VERSION."""

from pathlib import Path

from pipeline import tables
from pipeline.index.config import IndexConfig
from pipeline.index.layouts import Dataset
from pipeline.index.stage import OUTPUT_VERSION, index_collection
from tests.helpers import badfiles, golden

FILE = Path(__file__).with_name("golden.json")


def test_rows_and_rejects_change_only_with_the_output_version(tmp_path):
    root = tmp_path / "collection"
    badfiles.write(root)
    index_collection(root, tmp_path / "index", Dataset(root=str(root)), IndexConfig())
    rows = tables.read_table(tmp_path / "index").to_pylist()
    rejects = tables.read_rejects(tmp_path / "index").to_pylist()
    output = {"columns": tables.INDEX.names, "rejects": [f"{row['path']}: {row['reason']}" for row in rejects]}
    for row in rows:  # without bytes and digests, which depend on the libraries that write the files here
        output[row["image"]] = [str(row[name]) for name in ("group", "name", "mask", "void", "height", "width")]
    golden.check(FILE, "index", OUTPUT_VERSION, output, tolerance=0)
