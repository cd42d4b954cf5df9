"""The split, the plan of group batches, its division among ranks, and the batches themselves."""

import threading

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from icnet import images
from pipeline import tables
from pipeline.runtime import parallel
from pipeline.train.augment import Augmentation
from pipeline.train.dataset import COLUMNS, BatchLoader, open_memory_map, write_memory_map
from pipeline.train.sampler import BatchSlot, assign_to_rank, plan_epoch, plan_group_batches
from pipeline.train.split import SplitError, split_groups

GROUPS = {"owl": list(range(0, 21)), "cup": list(range(21, 25)), "one": [25], "key": list(range(26, 46))}
sizes = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(1, 40), min_size=1, max_size=8)


def rows(counts):
    """Row numbers by group."""
    ends = np.cumsum(list(counts.values())).tolist()
    return {group: list(range(end - n, end)) for (group, n), end in zip(counts.items(), ends, strict=True)}


def table(groups, digests=None, masks=None):
    """A samples table without pictures."""
    names = [group for group, members in groups.items() for _ in members]
    return pa.table(
        {
            "group": names,
            "name": [f"{number:03d}" for number in range(len(names))],
            "digest": digests or [f"d{number}" for number in range(len(names))],
            "mask": pa.array(masks or [b"m"] * len(names), pa.binary()),
        }
    )


@given(counts=sizes, size=st.integers(2, 12), epoch=st.integers(0, 3))
def test_every_image_is_in_one_batch_of_its_own_group_once_per_epoch(counts, size, epoch):
    groups = rows(counts)
    planned = plan_epoch(groups, size, 0, epoch)
    used = sorted(row for batch in planned for row in batch)
    assert used == sorted(row for members in groups.values() if len(members) > 1 for row in members)
    assert all(any(set(batch) <= set(members) for members in groups.values()) for batch in planned)
    assert all(2 <= len(batch) <= size + 1 for batch in planned)


def test_a_last_batch_of_one_joins_its_neighbor_and_a_group_of_one_has_none():
    lengths = sorted(len(batch) for batch in plan_epoch(GROUPS, 10, 0, 0))
    assert lengths == [4, 10, 10, 10, 11]


def test_a_plan_depends_on_the_seed_and_the_epoch_alone():
    first = plan_epoch(GROUPS, 10, 3, 5)
    assert plan_epoch(dict(reversed(GROUPS.items())), 10, 3, 5) == first
    assert plan_epoch(GROUPS, 10, 3, 6) != first
    assert plan_epoch(GROUPS, 10, 4, 5) != first


def test_large_groups_are_drawn_more_often_by_the_root_of_their_size():
    groups = rows({"small": 4, "middle": 16, "large": 64, "huge": 600, "one": 1})
    drawn = [batch for epoch in range(40) for batch in plan_group_batches(groups, 8, 0, epoch)]
    counts = {name: sum(batch[0] in members for batch in drawn) for name, members in groups.items()}
    assert counts["one"] == 0 and len(drawn) == 40 * len(plan_epoch(groups, 8, 0, 0))
    shares = {name: count / len(drawn) for name, count in counts.items()}
    expected = {"small": 2 / 22, "middle": 4 / 22, "large": 8 / 22, "huge": 8 / 22, "one": 0}
    assert shares == pytest.approx(expected, abs=0.03)


def test_batches_of_drawn_groups_vary_in_size_and_have_no_image_twice():
    drawn = [batch for epoch in range(10) for batch in plan_group_batches(rows({"a": 30, "b": 5}), 8, 0, epoch, 4)]
    assert {len(batch) for batch in drawn} == {4, 5, 6, 7, 8}
    assert all(len(set(batch)) == len(batch) for batch in drawn)
    assert all(max(batch) < 30 or min(batch) >= 30 for batch in drawn)
    assert plan_group_batches(GROUPS, 8, 1, 2, 4) == plan_group_batches(dict(reversed(GROUPS.items())), 8, 1, 2, 4)


@given(counts=sizes, ranks=st.integers(1, 5), accumulated=st.integers(1, 3))
def test_ranks_take_equal_numbers_of_steps_and_all_batches_between_them(counts, ranks, accumulated):
    planned = plan_epoch(rows(counts), 4, 0, 0)
    assigned = [assign_to_rank(planned, ranks, rank, accumulated) for rank in range(ranks)]
    assert len({len(steps) for steps in assigned}) == 1
    for together in zip(*assigned, strict=True):
        assert len({len(slots) for slots in together}) == 1
        weights = [slot.weight for slots in together for slot in slots]
        assert sum(weights) / ranks == pytest.approx(1)
    slots = [slot for steps in assigned for step in steps for slot in step if slot.weight]
    assert [slot.rows for slot in sorted(slots, key=lambda slot: slot.number)] == planned


def test_the_slots_of_one_step_weigh_the_same_for_any_number_of_ranks():
    planned = plan_epoch(GROUPS, 5, 0, 0)
    alone = assign_to_rank(planned, 1, 0, accumulated=4)
    shared = [assign_to_rank(planned, 2, rank, accumulated=2) for rank in range(2)]
    for slots, *others in zip(alone, *shared, strict=True):
        used = {slot.rows: slot.weight for slot in slots}
        assert used == {slot.rows: slot.weight / 2 for part in others for slot in part if slot.weight}


def test_validation_groups_are_drawn_by_the_seed_and_stay_away_from_training():
    groups = rows(dict.fromkeys("abcdefghij", 4))
    first = split_groups(table(groups), 0.3, 0)
    assert len(first.validation) == 3
    assert not first.train.keys() & first.validation.keys()
    assert first.train.keys() | first.validation.keys() == groups.keys()
    assert split_groups(table(groups), 0.3, 0) == first
    assert any(split_groups(table(groups), 0.3, seed).validation != first.validation for seed in range(1, 5))
    assert not split_groups(table(groups), 0.0, 0).validation
    assert len(split_groups(table(groups), 0.01, 0).validation) == 1


def test_a_photograph_of_a_validation_group_never_trains_under_another_name():
    groups = rows({"a": 3, "b": 3, "c": 3})
    digests = ["x", "p", "q", "x", "r", "x", "s", "t", "u"]
    found = split_groups(table(groups, digests), ["b"], 0)
    assert found.copies == [0]
    assert found.train == {"a": [1, 2], "c": [6, 7, 8]}
    assert found.validation == {"b": [3, 4, 5]}
    held = {digests[row] for members in found.validation.values() for row in members}
    assert not held & {digests[row] for members in found.train.values() for row in members}


def test_images_without_a_mask_are_left_out_and_counted():
    groups = rows({"a": 3, "b": 2})
    found = split_groups(table(groups, masks=[b"m", None, b"m", b"m", b"m"]), 0.0, 0)
    assert found.unmasked == [1]
    assert found.train == {"a": [0, 2], "b": [3, 4]}


def test_a_set_with_nothing_to_train_on_is_an_error_that_counts():
    with pytest.raises(SplitError, match="2 images, 2 without a mask"):
        split_groups(table(rows({"a": 2}), masks=[None, None]), 0.0, 0)
    with pytest.raises(SplitError, match="validation groups zebra; there: \\['a'\\]"):
        split_groups(table(rows({"a": 2})), ["zebra"], 0)


@pytest.fixture
def samples(tmp_path):
    """A finished samples table of random pictures, 16 px: 3 of `ape`, 2 of `bee`."""
    draw = np.random.default_rng(0)

    def picture(*shape):
        return images.encode(draw.integers(0, 256, shape, np.uint8))

    records = [
        {
            "group": group,
            "name": f"{number}",
            "image": picture(16, 16, 3),
            "sism": picture(16, 16),
            "mask": picture(16, 16),
            "height": 16,
            "width": 16,
            "digest": f"{group}{number}",
        }
        for group, count in (("ape", 3), ("bee", 2))
        for number in range(count)
    ]
    tables.write_table(tmp_path / "samples", pa.Table.from_pylist(records, tables.SAMPLES), [])
    return write_memory_map({"toys": tmp_path / "samples"}, tmp_path / "samples.arrow")


def test_a_memory_map_holds_the_rows_of_the_table(samples, tmp_path):
    table = tables.read_table(tmp_path / "samples", COLUMNS)
    assert samples.to_pylist() == table.to_pylist()
    assert open_memory_map(tmp_path / "samples.arrow").equals(samples)


def test_a_flip_turns_image_map_and_mask_together_by_a_coin_of_its_own(samples):
    plain, flipping = BatchLoader(samples, 0), BatchLoader(samples, 0, Augmentation(flip=0.5))
    rows, seen = (0, 1, 2), set()
    whole = plain.load_plain(rows)
    for epoch in range(20):
        batch = flipping.load_slot(BatchSlot(rows, 1.0, 0), epoch)
        again = flipping.load_slot(BatchSlot(rows, 1.0, 0), epoch)
        assert torch.equal(batch.images, again.images)
        for place in rows:
            flipped = not torch.equal(batch.images[place], whole.images[place])
            seen.add((place, flipped))
            for one, other in zip(
                (batch.images, batch.sisms, batch.masks), (whole.images, whole.sisms, whole.masks), strict=True
            ):
                assert torch.equal(one[place], other[place].flip(-1) if flipped else other[place])
    assert len(seen) == 6


def test_a_crop_cuts_image_and_maps_at_the_same_place_and_keeps_their_size():
    ramp = np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))
    views = [np.stack([ramp] * 3, axis=-1), ramp, ramp]
    found = [Augmentation(crop=0.5)(np.random.default_rng(seed), views) for seed in range(20)]
    for image, sism, mask in found:
        assert image.shape == (64, 64, 3)
        assert np.array_equal(sism, mask)
        assert np.abs(image[..., 0].astype(int) - sism).max() <= 1
        assert int(np.ptp(sism)) >= 120
    assert len({sism.tobytes() for _, sism, _ in found}) == 20


def test_colors_change_the_image_alone_and_by_no_more_than_they_may():
    image, sism = np.full((8, 8, 3), 100, np.uint8), np.full((8, 8), 100, np.uint8)
    for seed in range(10):
        changed, *maps = Augmentation(color_jitter=0.2)(np.random.default_rng(seed), [image, sism, sism])
        assert 79 <= changed.min() <= changed.max() <= 120
        assert all(np.array_equal(one, sism) for one in maps)


def test_no_augmentation_changes_nothing(samples):
    rows = (0, 1, 2)
    batch = BatchLoader(samples, 0).load_slot(BatchSlot(rows, 1.0, 0), 3)
    assert torch.equal(batch.images, BatchLoader(samples, 0).load_plain(rows).images)


def test_items_come_in_order_and_no_further_ahead_than_the_threads_allow():
    begun, lock = [], threading.Lock()

    def load(item):
        with lock:
            begun.append(item)
        return item * item

    stream = parallel.prefetch(load, range(100), threads=2)
    assert [next(stream) for _ in range(3)] == [0, 1, 4]
    assert len(begun) <= 3 + 5
    assert list(stream) == [item * item for item in range(3, 100)]


def test_an_item_that_cannot_be_loaded_is_an_error_where_it_is_used():
    stream = parallel.prefetch(lambda item: 1 // item, [1, 0], threads=1)
    assert next(stream) == 1
    with pytest.raises(ZeroDivisionError):
        next(stream)


def test_disturbed_sisms_leave_images_and_masks_alone_and_come_again_with_their_seed(samples):
    rows, plain = (0, 1, 2), BatchLoader(samples, 0)
    disturbing, whole, changed = BatchLoader(samples, 0, Augmentation(sism_noise=0.5)), plain.load_plain(rows), 0
    for epoch in range(20):
        batch = disturbing.load_slot(BatchSlot(rows, 1.0, 0), epoch)
        assert torch.equal(batch.sisms, disturbing.load_slot(BatchSlot(rows, 1.0, 0), epoch).sisms)
        assert torch.equal(batch.images, whole.images) and torch.equal(batch.masks, whole.masks)
        changed += sum(not torch.equal(one, other) for one, other in zip(batch.sisms, whole.sisms, strict=True))
    assert 15 < changed < 45
