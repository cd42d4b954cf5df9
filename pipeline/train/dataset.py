"""Samples in a memory map, and batches decoded from it.

Threads decode batches ahead (`pipeline.runtime.parallel.prefetch`) rather than a `torch.utils.data.DataLoader`: PNG
decoding releases Python's lock, and DataLoader's processes would copy every batch. `benchmarks/train.py loaders`
compares them.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from icnet import images
from icnet.images.encoded import decode_encoded
from icnet.training import Batch
from pipeline import tables
from pipeline.runtime.files import replace_when_done
from pipeline.train.augment import NO_AUGMENTATION, Augmentation
from pipeline.train.feature_files import StoredFeatures, arrange_features
from pipeline.train.pasting import paste_objects
from pipeline.train.sampler import BatchSlot
from pipeline.train.sism_noise import corrupt_sisms
from pipeline.train.split import Groups, Split
from pipeline.train.zoom import zoom

COLUMNS = ("group", "name", "image", "sism", "mask", "digest")

MAX_EXAMPLES = 64
"""Images that the first weights may depend on."""

CPU = torch.device("cpu")


def write_memory_map(samples: Mapping[str, Path], file: Path) -> pa.Table:
    """Copy the columns that training reads of samples tables, by dataset, into one file, unless it is there; open it.

    With several datasets a group is named <dataset>/<group>.
    """
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        schema = pa.schema([tables.SAMPLES.field(name) for name in COLUMNS])
        with replace_when_done(file) as temporary, pa.ipc.new_file(temporary, schema) as writer:
            for dataset, table in samples.items():
                for shard in tables.iterate_shards(table, COLUMNS):
                    writer.write_table(_name_groups(shard, dataset) if len(samples) > 1 else shard)
    return open_memory_map(file)


def _name_groups(shard: pa.Table, dataset: str) -> pa.Table:
    names = pa.array([f"{dataset}/{group}" for group in shard["group"].to_pylist()], pa.string())
    return shard.set_column(shard.schema.get_field_index("group"), shard.schema.field("group"), names)


def open_memory_map(file: Path) -> pa.Table:
    """The table of `write_memory_map`; all processes of a machine share its memory."""
    return pa.ipc.open_file(pa.memory_map(str(file))).read_all()


def load_examples(samples: pa.Table, split: Split) -> Tensor:
    """The first images of the training groups, in turn, as network input [n, 3, s, s], n at most MAX_EXAMPLES."""
    turns = sorted((turn, row) for rows in split.train.values() for turn, row in enumerate(rows))
    pictures = [decode_encoded(samples["image"][row].as_py()) for _, row in turns[:MAX_EXAMPLES]]
    return images.normalize(np.stack(pictures))


class BatchLoader:
    """Decodes batches of the samples table and augments those for training.

    Batches are on `device`: a GPU gets pixels as uint8, a quarter of the bytes, and makes the network's input of them.
    """

    def __init__(
        self,
        samples: pa.Table,
        seed: int,
        augmentation: Augmentation = NO_AUGMENTATION,
        device: torch.device = CPU,
        features: StoredFeatures | None = None,
        groups: Groups | None = None,
    ) -> None:
        """`groups`: those that are trained on, for augmentations that paste objects of other groups."""
        self.samples, self.seed, self.augmentation, self.device = samples, seed, augmentation, device
        self.features = features
        named = [(row, number) for number, rows in enumerate((groups or {}).values()) for row in rows]
        self.rows, self.group_of = np.array([row for row, _ in named], np.int64), dict(named)

    def load_plain(self, rows: Sequence[int], view: int = 0) -> Batch:
        """Images as they are in the table, or the same zoomed view of each."""
        return self._make_batch([self._decode_view(row, view) for row in rows], 1.0)

    def load_slot(self, slot: BatchSlot, epoch: int, pasting: bool = True) -> Batch:
        """A training batch. Its augmentation depends on the seed, the epoch and its number in the epoch's plan.

        `pasting: false` leaves out the augmentations that paste objects.
        """
        draw = np.random.default_rng([self.seed, epoch, slot.number, 1])
        members = [self._load_member(draw, row) for row in slot.rows]
        if self.augmentation.pastes and pasting:
            shares = self.augmentation.pasted_groups, self.augmentation.distractors
            members = paste_objects(draw, members, partial(self._load_other, draw, slot.rows[0]), *shares)
        if self.augmentation.sism_noise:
            noisy = corrupt_sisms(draw, np.stack([sism for _, sism, *_ in members]), self.augmentation.sism_noise)
            members = [[image, sism, *others] for (image, _, *others), sism in zip(members, noisy, strict=True)]
        return self._make_batch(members, slot.weight)

    def _make_batch(self, members: Sequence[list[np.ndarray]], weight: float) -> Batch:
        pictures, sisms, masks, *features = (self._move(np.stack(views)) for views in zip(*members, strict=True))
        stored = arrange_features(features[0]) if features else ()
        return Batch(images.normalize(pictures), images.scale_maps(sisms), images.scale_maps(masks), weight, stored)

    def _move(self, array: np.ndarray) -> Tensor:
        """The array on the device. A GPU copies it while it computes."""
        tensor = torch.from_numpy(array)
        if self.device.type != "cuda":
            return tensor.to(self.device)
        with torch.cuda.device(self.device):  # else a thread would pin memory for the first GPU
            return tensor.pin_memory().to(self.device, non_blocking=True)

    def _load_member(self, draw: np.random.Generator, row: int) -> list[np.ndarray]:
        """A view of a row, changed at random: image, SISM and mask, and features if they are stored."""
        view = int(draw.integers(self.augmentation.zooms + 1)) if self.augmentation.zooms else 0
        features = [] if self.features is None else [self.features.read(row, view)]
        return self.augmentation(draw, [*self._decode_view(row, view), *features])

    def _load_other(self, draw: np.random.Generator, row: int) -> list[np.ndarray]:
        """A view of an image of another group than the row's."""
        while True:
            other = int(self.rows[draw.integers(len(self.rows))])
            if self.group_of[other] != self.group_of[row]:
                return self._load_member(draw, other)

    def _decode_view(self, row: int, view: int) -> list[np.ndarray]:
        """Image, SISM and mask of a view of a row, uint8: 0 is the whole image, others are always the same crops."""
        whole = [decode_encoded(self._read(column, row)) for column in ("image", "sism", "mask")]
        return zoom(np.random.default_rng([self.seed, row, view, 2]), whole) if view else whole

    def _read(self, column: str, row: int) -> memoryview:
        return memoryview(self.samples[column][row].as_buffer())
