import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline import tables
from tests.helpers.rows import rows_of


@given(st.lists(st.integers(1, 12), min_size=1, max_size=30), st.integers(1, 10))
def test_shards_cover_every_row_once_and_hold_whole_groups_where_they_fit(sizes, most):
    table = rows_of(sizes)
    shards = tables.plan_shards(table, most)
    assert [row for shard in shards for row in range(shard.start, shard.stop)] == list(range(len(table)))
    assert all(1 <= len(shard) <= most for shard in shards)
    starts = {shard.start for shard in shards}
    first = 0
    for size in sizes:
        if size <= most:
            assert not starts & set(range(first + 1, first + size))
        first += size


def test_the_key_of_a_shard_changes_with_its_rows_and_with_what_made_it():
    table = rows_of([4, 4])
    first, second = tables.plan_shards(table, 4, "gc")
    changed = table.set_column(2, "value", pa.array([0, 1, 2, 3, 4, 5, 6, 70]))
    assert tables.plan_shards(changed, 4, "gc")[0] == first
    assert tables.plan_shards(changed, 4, "gc")[1].key != second.key
    other = tables.plan_shards(table, 4, "egnet")
    assert all(a.key != b.key for a, b in zip((first, second), other, strict=True))


def test_a_key_changes_with_version_inputs_and_params():
    keys = {
        tables.make_key(*parts) for parts in (("a", 1, "i", {"p": 1}), ("b", 1, "i", {"p": 1}), ("a", 2, "i", {"p": 1}))
    } | {tables.make_key("a", 1, "j", {"p": 1}), tables.make_key("a", 1, "i", {"p": 2})}
    assert len(keys) == 5
    assert tables.make_key("a", 1, "i", {"p": 1, "q": 2}) == tables.make_key("a", 1, "i", {"q": 2, "p": 1})
