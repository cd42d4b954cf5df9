"""The plan of stage predict: shards, subgroups and large groups."""

from collections import Counter, defaultdict
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline import tables
from pipeline.predict.config import PredictConfig
from pipeline.tables import Shard

MAX_SAMPLED_IMAGES = 256
"""Images of a unit, evenly spaced, that are asked how much they lean on each of its SIVs; a smaller unit's are all."""


def space_evenly(size: int, most: int = MAX_SAMPLED_IMAGES) -> np.ndarray:
    """The places of at most `most` evenly spaced ones of `size`."""
    return np.linspace(0, size - 1, min(size, most)).round().astype(int)


def name_subgroups(groups: list[str], cut: int | None) -> list[str]:
    """What each row is predicted with, by name: its whole group, or the batch of `cut` images of it. `groups` are the
    groups of rows that start where such a unit does."""
    if cut is None:
        return groups
    return [f"{group}/{n // cut}" for group, members in groupby(groups) for n, _ in enumerate(members)]


def find_large_groups(samples: Path, shards: list[Shard], cut: int | None = None) -> dict[str, list[Shard]]:
    """The shards of every unit that is spread over several; such a shard holds one unit alone."""
    groups = name_subgroups(tables.read_table(samples, ["group"])["group"].to_pylist(), cut)
    held = [(shard, set(groups[shard.start : shard.stop])) for shard in shards]
    times = Counter(group for _, found in held for group in found)
    large: dict[str, list[Shard]] = defaultdict(list)
    for shard, found in held:
        for group in found:
            if times[group] > 1:
                large[group].append(shard)
    return dict(large)


VERSION = 2
"""Part of every shard's key: raise it when the same inputs shall give other bytes."""


def plan_maps(samples: Path, config: PredictConfig, model: str) -> list[Shard]:
    """Shards of at most `shard` images; a shard's key holds its groups whole, for each map depends on all of them."""
    rows = tables.read_table(samples, ["group", "name", "height", "width"])
    entries = tables.load_manifest(samples)["shards"]
    made = [entry["key"] for entry in entries for _ in range(entry["rows"])]
    sources: dict[str, set[str]] = defaultdict(set)
    for group, key in zip(rows["group"].to_pylist(), made, strict=True):
        sources[group].add(key)
    whole = {group: tables.fingerprint(sorted(keys)) for group, keys in sources.items()}
    column = pa.array([whole[group] for group in rows["group"].to_pylist()], pa.string())
    made_by = ("predict", VERSION, model, config.batch_size, config.precision, config.subgroup_size)
    rows = rows.set_column(
        0, "group", pa.array(name_subgroups(rows["group"].to_pylist(), config.subgroup_size), pa.string())
    )
    return tables.plan_shards(rows.append_column("whole", column), config.shard_size, *made_by)
