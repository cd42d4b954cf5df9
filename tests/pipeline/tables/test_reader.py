import pytest

from pipeline import tables
from tests.helpers.rows import ROWS, flip_bit, make_table, rows_of


def test_a_range_of_rows_is_read_across_shards(tmp_path):
    folder = tmp_path / "t"
    make_table(folder, rows_of([3, 3, 3]), max_weight=3, refuse={"i00004"})
    whole = tables.read_table(folder)
    assert tables.read_rows(folder, 2, 6).equals(whole.slice(2, 4))
    assert tables.read_rows(folder, 0, 8, ["name"]).equals(whole.select(["name"]))


def test_a_missing_shard_of_a_finished_table_is_noticed(tmp_path):
    folder = tmp_path / "t"
    shards, _ = make_table(folder, rows_of([2, 2]))
    (folder / shards[1].file).unlink()
    with pytest.raises(tables.TableError, match="shard-000001"):
        tables.read_table(folder)


@pytest.mark.parametrize("file", ["shard-000000.parquet", "rejects.parquet"])
def test_a_flipped_bit_is_noticed_and_the_command_that_repairs_it_is_named(tmp_path, file):
    folder = tmp_path / "mugs"
    make_table(folder, rows_of([2, 2]), refuse={"i00001"})
    flip_bit(folder / file, 0.1)
    with pytest.raises(tables.TableError, match=r"run `dvc repro -f -s sism@mugs`"):
        tables.read_table(folder)
        tables.read_rejects(folder)


def test_a_table_of_cosal_predict_names_that_command(tmp_path):
    folder = tmp_path / ".cosal" / "samples"
    make_table(folder, rows_of([2]))
    flip_bit(folder / "shard-000000.parquet", 0.1)
    with pytest.raises(tables.TableError, match="run the same `cosal predict` again"):
        tables.read_table(folder)


def test_an_empty_table_is_a_table(tmp_path):
    folder = tmp_path / "t"
    tables.write_table(folder, ROWS.empty_table(), [], root="x")
    assert len(tables.read_table(folder)) == 0
    assert tables.load_manifest(folder)["root"] == "x"
    assert tables.plan_shards(tables.read_table(folder), 4) == []
    with tables.TableWriter(folder, [], ROWS) as writer:
        writer.finish()
    assert tables.read_table(folder).schema == ROWS
