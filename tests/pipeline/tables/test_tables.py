import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import tables

ROWS = pa.schema([*tables.KEY, ("value", pa.int64())])


def rows_of(sizes):
    groups = [f"g{number:03d}" for number, size in enumerate(sizes) for _ in range(size)]
    names = [f"i{number:05d}" for number in range(len(groups))]
    return pa.table({"group": groups, "name": names, "value": range(len(groups))}, schema=ROWS)


def fill(folder, table, shards, refuse=()):
    for shard in shards:
        rows = table.slice(shard.start, len(shard)).to_pylist()
        rejects = [{**row, "path": row["name"], "stage": "x", "reason": "bad", "error": "E"} for row in rows]
        kept = [row for row in rows if row["name"] not in refuse]
        tables.write_shard(folder, shard, ROWS, kept, [row for row in rejects if row["name"] in refuse])


@given(st.lists(st.integers(1, 12), min_size=1, max_size=30), st.integers(1, 10))
def test_shards_cover_every_row_once_and_hold_whole_groups_where_they_fit(sizes, most):
    table = rows_of(sizes)
    shards = tables.plan_shards(table, most)
    assert [row for shard in shards for row in range(shard.start, shard.stop)] == list(range(len(table)))
    assert all(1 <= len(shard) <= most for shard in shards)
    cuts = {shard.start for shard in shards}
    first = 0
    for size in sizes:
        if size <= most:
            assert not cuts & set(range(first + 1, first + size))
        first += size


def test_a_shards_key_changes_with_its_rows_and_with_what_made_it():
    table = rows_of([4, 4])
    first, second = tables.plan_shards(table, 4, "gc")
    changed = table.set_column(2, "value", pa.array([0, 1, 2, 3, 4, 5, 6, 70]))
    assert tables.plan_shards(changed, 4, "gc")[0] == first
    assert tables.plan_shards(changed, 4, "gc")[1].key != second.key
    assert all(
        a.key != b.key
        for a, b in zip(tables.plan_shards(table, 4, "gc"), tables.plan_shards(table, 4, "egnet"), strict=True)
    )


def test_a_table_without_its_receipt_is_not_a_table(tmp_path):
    table = rows_of([3])
    shards = tables.plan_shards(table, 2)
    assert tables.prepare_table(tmp_path, shards) == shards
    fill(tmp_path, table, shards)
    with pytest.raises(tables.TableError, match="no finished table"):
        tables.read_table(tmp_path)
    assert tables.finish_table(tmp_path, shards, ROWS) == tables.Counts(3, 0)
    assert tables.read_table(tmp_path).equals(table)


def test_a_rerun_keeps_the_shards_whose_key_still_fits(tmp_path):
    table = rows_of([2, 2, 2])
    shards = tables.plan_shards(table, 2)
    tables.prepare_table(tmp_path, shards)
    fill(tmp_path, table, shards)
    tables.finish_table(tmp_path, shards, ROWS)
    changed = tables.plan_shards(table.set_column(2, "value", pa.array([0, 1, 20, 3, 4, 5])), 2)
    assert [shard.number for shard in tables.prepare_table(tmp_path, changed)] == [1]


def test_a_half_written_shard_is_made_again(tmp_path):
    table = rows_of([2, 2])
    shards = tables.plan_shards(table, 2)
    tables.prepare_table(tmp_path, shards)
    fill(tmp_path, table, shards)
    file = tmp_path / shards[0].file
    file.write_bytes(file.read_bytes()[:100])
    (tmp_path / ".shard-000001.parquet.99.part").write_bytes(b"half")
    assert tables.prepare_table(tmp_path, shards) == [shards[0]]
    assert not list(tmp_path.glob(".*.part"))


def test_files_of_an_older_plan_are_dropped_when_the_table_is_finished(tmp_path):
    table = rows_of([2, 2, 2])
    for most in (2, 6):
        shards = tables.plan_shards(table, most)
        tables.prepare_table(tmp_path, shards)
        fill(tmp_path, table, shards)
        tables.finish_table(tmp_path, shards, ROWS)
    assert [file.name for file in tmp_path.glob("shard-*")] == ["shard-000000.parquet"]


def test_every_planned_image_is_a_row_or_a_reject(tmp_path):
    table = rows_of([3, 2])
    shards = tables.plan_shards(table, 5)
    tables.prepare_table(tmp_path, shards)
    fill(tmp_path, table, shards, refuse={"i00001"})
    assert tables.finish_table(tmp_path, shards, ROWS) == tables.Counts(4, 1)
    assert tables.read_rejects(tmp_path)["path"].to_pylist() == ["i00001"]
    tables.write_shard(tmp_path, shards[0], ROWS, table.slice(0, 4).to_pylist(), [])
    with pytest.raises(tables.TableError, match="4 rows and 0 rejects of 5 planned"):
        tables.finish_table(tmp_path, shards, ROWS)


def test_a_missing_shard_of_a_finished_table_is_noticed(tmp_path):
    table = rows_of([2, 2])
    shards = tables.plan_shards(table, 2)
    tables.prepare_table(tmp_path, shards)
    fill(tmp_path, table, shards)
    tables.finish_table(tmp_path, shards, ROWS)
    (tmp_path / shards[1].file).unlink()
    with pytest.raises(tables.TableError, match="shard-000001"):
        tables.read_table(tmp_path)


def test_the_same_rows_give_the_same_bytes(tmp_path):
    table = rows_of([5])
    shards = tables.plan_shards(table, 9)
    written = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        tables.prepare_table(folder, shards)
        tables.write_shard(folder, shards[0], ROWS, table.to_pylist()[::-1], [])
        tables.finish_table(folder, shards, ROWS)
        written.append({file.name: file.read_bytes() for file in folder.iterdir()})
    assert written[0] == written[1]
    assert pq.read_table(tmp_path / "a" / shards[0].file)["name"].to_pylist() == sorted(table["name"].to_pylist())


def test_a_range_of_rows_is_read_across_shards(tmp_path):
    table = rows_of([3, 3, 3])
    shards = tables.plan_shards(table, 3)
    tables.prepare_table(tmp_path, shards)
    fill(tmp_path, table, shards, refuse={"i00004"})
    tables.finish_table(tmp_path, shards, ROWS)
    whole = tables.read_table(tmp_path)
    assert tables.read_rows(tmp_path, 2, 6).equals(whole.slice(2, 4))
    assert tables.read_rows(tmp_path, 0, 8, ["name"]).equals(whole.select(["name"]))


def test_an_empty_table_is_a_table(tmp_path):
    tables.write_table(tmp_path, ROWS.empty_table(), [], root="x")
    assert len(tables.read_table(tmp_path)) == 0
    assert tables.load_manifest(tmp_path)["root"] == "x"
    assert tables.plan_shards(tables.read_table(tmp_path), 4) == []
    tables.finish_table(tmp_path, [], ROWS)
    assert tables.read_table(tmp_path).schema == ROWS
