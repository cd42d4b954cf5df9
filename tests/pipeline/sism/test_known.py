"""Samples of photographs that were sorted into other groups are copied, not made again."""

import shutil

import pyarrow as pa

from pipeline import tables
from pipeline.runtime.threads import ThreadExecutor, ThreadPool
from pipeline.sism.config import SismConfig
from pipeline.sism.known import KnownSamples
from pipeline.sism.samples import SamplesJob
from tests.helpers import photographs

SIDE = 64


def make_samples(index, folder, known=None):
    with ThreadPool(2) as pool:
        job = SamplesJob(index, folder, SismConfig(method="gc"), SIDE, one_group_per_shard=True, known=known)
        return job.run(ThreadExecutor(pool))


def write_index(folder, root, groups):
    """An index without masks of some photographs; `groups` are their new groups by number."""
    made = photographs.index(root, folder)
    rows = [
        {**row, "group": groups[number], "mask": None, "mask_digest": None}
        for number, row in enumerate(tables.read_table(made).to_pylist())
        if number in groups
    ]
    rows.sort(key=lambda row: (row["group"], row["name"]))
    tables.write_table(folder, pa.Table.from_pylist(rows, schema=tables.INDEX), [], root=str(root))
    return folder


def test_known_samples_are_copied_without_the_photographs_to_the_same_bytes(tmp_path):
    root = photographs.write(tmp_path / "photographs", {"all": 7})
    together = write_index(tmp_path / "together", root, dict.fromkeys(range(7), "all"))
    sorted_ = write_index(tmp_path / "sorted", root, {0: "b", 1: "a", 3: "b", 4: "a", 6: "a"})
    make_samples(together, tmp_path / "known")
    computed = make_samples(sorted_, tmp_path / "computed")
    shutil.rmtree(root)
    copied = make_samples(sorted_, tmp_path / "copied", KnownSamples.read(tmp_path / "known"))
    assert (computed.computed, copied.computed, copied.rows) == (5, 0, 5)
    assert photographs.files(tmp_path / "copied") == photographs.files(tmp_path / "computed")


def test_a_group_with_a_photograph_that_is_not_known_is_computed(tmp_path):
    root = photographs.write(tmp_path / "photographs", {"all": 5})
    some = write_index(tmp_path / "some", root, dict.fromkeys(range(4), "all"))
    every = write_index(tmp_path / "every", root, {0: "a", 1: "a", 2: "b", 3: "b", 4: "b"})
    make_samples(some, tmp_path / "known")
    make_samples(every, tmp_path / "computed")
    mixed = make_samples(every, tmp_path / "mixed", KnownSamples.read(tmp_path / "known"))
    assert mixed.computed == 3
    assert photographs.files(tmp_path / "mixed") == photographs.files(tmp_path / "computed")
