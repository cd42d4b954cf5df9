import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import tables
from pipeline.runtime import locks
from tests.helpers.rows import ROWS, make_table, rows_of, write_shards


def test_a_table_without_its_manifest_is_not_a_table(tmp_path):
    folder, table = tmp_path / "t", rows_of([3])
    shards = tables.plan_shards(table, 2)
    with tables.TableWriter(folder, shards, ROWS) as writer:
        assert writer.missing == shards
        write_shards(folder, table, shards)
        with pytest.raises(tables.TableError, match="no finished table"):
            tables.read_table(folder)
        assert writer.finish() == tables.Counts(3, 0)
    assert tables.read_table(folder).equals(table)


def test_a_rerun_keeps_the_shards_whose_key_is_the_same(tmp_path):
    folder, table = tmp_path / "t", rows_of([2, 2, 2])
    make_table(folder, table)
    changed = table.set_column(2, "value", pa.array([0, 1, 20, 3, 4, 5]))
    assert [shard.number for shard in make_table(folder, changed)[1]] == [1]
    assert tables.read_table(folder).equals(changed)


def test_a_rerun_without_a_change_gives_the_same_manifest(tmp_path):
    folder, table = tmp_path / "t", rows_of([2, 2, 2])
    make_table(folder, table)
    before = (folder / "manifest.json").read_bytes()
    assert make_table(folder, table)[1] == []
    assert (folder / "manifest.json").read_bytes() == before


def test_an_interrupted_table_keeps_whole_shards_and_makes_the_others(tmp_path):
    folder, table = tmp_path / "t", rows_of([2, 2, 2])
    shards = tables.plan_shards(table, 2, "x")
    with tables.TableWriter(folder, shards, ROWS):
        write_shards(folder, table, shards[:2])
    file = folder / shards[0].file
    file.write_bytes(file.read_bytes()[:100])
    (folder / ".0123456789abcdef.part").write_bytes(b"half")
    with tables.TableWriter(folder, shards, ROWS) as writer:
        assert writer.missing == [shards[0], shards[2]]
        assert not list(folder.glob(".*.part"))


def test_files_of_an_older_plan_are_removed_when_the_table_is_finished(tmp_path):
    folder, table = tmp_path / "t", rows_of([2, 2, 2])
    for most in (2, 6):
        make_table(folder, table, max_weight=most)
    assert [file.name for file in folder.glob("shard-*")] == ["shard-000000.parquet"]


def test_every_planned_image_is_a_row_or_a_reject(tmp_path):
    folder, table = tmp_path / "t", rows_of([3, 2])
    shards = tables.plan_shards(table, 5)
    with tables.TableWriter(folder, shards, ROWS) as writer:
        write_shards(folder, table, shards, refuse={"i00001"})
        assert writer.finish() == tables.Counts(4, 1)
        assert tables.read_rejects(folder)["path"].to_pylist() == ["i00001"]
        tables.write_shard(str(folder), shards[0], ROWS, table.slice(0, 4).to_pylist(), [])
        with pytest.raises(tables.TableError, match="4 rows and 0 rejects of 5 planned"):
            writer.finish()


def test_a_table_with_a_shard_of_another_plan_is_not_finished(tmp_path):
    folder, table = tmp_path / "t", rows_of([2, 2])
    shards = tables.plan_shards(table, 2, "x")
    with tables.TableWriter(folder, shards, ROWS) as writer:
        write_shards(folder, table, tables.plan_shards(table, 2, "y"))
        with pytest.raises(tables.TableError, match="another shard"):
            writer.finish()


def test_the_same_rows_give_the_same_bytes(tmp_path):
    table = rows_of([5])
    shards = tables.plan_shards(table, 9)
    written = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        with tables.TableWriter(folder, shards, ROWS) as writer:
            tables.write_shard(str(folder), shards[0], ROWS, table.to_pylist()[::-1], [])
            writer.finish()
        written.append({file.name: file.read_bytes() for file in folder.iterdir()})
    assert written[0] == written[1]
    assert pq.read_table(tmp_path / "a" / shards[0].file)["name"].to_pylist() == sorted(table["name"].to_pylist())


def test_a_second_writer_of_the_same_table_is_refused_and_changes_nothing(tmp_path):
    folder, table = tmp_path / "t", rows_of([2])
    make_table(folder, table)
    with tables.TableWriter(folder, tables.plan_shards(table, 2, "x"), ROWS) as writer:
        writer.finish()
        with pytest.raises(locks.LockedError, match="is being written by process"):
            make_table(folder, table, max_weight=1)
        assert tables.read_table(folder).equals(table)
