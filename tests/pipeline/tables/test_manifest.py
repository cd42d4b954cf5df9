import json

import pytest

from pipeline import tables
from tests.helpers.rows import make_table, rows_of

READERS = [tables.load_manifest, tables.read_table, tables.read_rejects, lambda folder: tables.read_rows(folder, 0, 1)]


@pytest.mark.parametrize("content", [b"", b"{}", b"{", b"\xff\xfe", b"null", b'{"rows": 2, "rejects": 0, "shards": 3}'])
def test_a_manifest_that_cannot_be_read_counts_as_absent(tmp_path, content):
    folder, table = tmp_path / "t", rows_of([2, 2])
    make_table(folder, table)
    (folder / "manifest.json").write_bytes(content)
    for read in READERS:
        with pytest.raises(tables.TableError, match="holds no finished table: run `dvc repro`"):
            read(folder)
    assert make_table(folder, table)[1] == []
    assert tables.read_table(folder).equals(table)


def test_a_manifest_without_digests_counts_as_absent(tmp_path):
    folder, table = tmp_path / "t", rows_of([2, 2])
    make_table(folder, table)
    content = json.loads((folder / "manifest.json").read_text())
    for entry in content["shards"]:
        del entry["digest"]
    (folder / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(tables.TableError, match="no finished table"):
        tables.read_table(folder)


def test_a_table_of_version_0_1_is_unfinished_and_its_manifest_goes(tmp_path):
    folder, table = tmp_path / "t", rows_of([2, 2])
    make_table(folder, table)
    (folder / "manifest.json").rename(folder / "receipt.json")
    with pytest.raises(tables.TableError, match="no finished table"):
        tables.read_table(folder)
    make_table(folder, table)
    assert {file.name for file in folder.iterdir()} == {
        "manifest.json", "rejects.parquet", "shard-000000.parquet", "shard-000001.parquet",
    }  # fmt: skip
