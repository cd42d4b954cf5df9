"""The plan of stage predict: subgroups, shards, and groups that are spread over several shards."""

from collections import defaultdict
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline import tables
from pipeline.predict.config import PredictConfig
from pipeline.tables import Shard

OUTPUT_VERSION = 2
"""Part of the key of every shard (pipeline.tables.keys). Increase it when the same inputs give other maps."""

MAX_SAMPLED_IMAGES = 256
"""The SIVs' weights are averaged over at most this many evenly spaced images of a subgroup."""


def space_evenly(size: int, most: int = MAX_SAMPLED_IMAGES) -> np.ndarray:
    """Positions of at most `most` evenly spaced items among `size` items."""
    return np.linspace(0, size - 1, min(size, most)).round().astype(int)


def name_subgroups(groups: list[str], subgroup_size: int | None) -> list[str]:
    """The name of each row's subgroup: the images that are predicted together.

    Without `subgroup_size` a subgroup is the whole group. `groups` holds the group of each row, and starts with the
    first row of a subgroup.
    """
    if subgroup_size is None:
        return groups
    return [f"{group}/{n // subgroup_size}" for group, rows in groupby(groups) for n, _ in enumerate(rows)]


def find_large_groups(samples: Path, shards: list[Shard], subgroup_size: int | None = None) -> dict[str, list[Shard]]:
    """The shards of each subgroup that is spread over several shards. Such a shard holds no other subgroup."""
    groups = tables.read_table(samples, ["group"])["group"]
    if subgroup_size is not None:
        groups = pa.array(name_subgroups(groups.to_pylist(), subgroup_size))
    firsts = groups.take([shard.start for shard in shards]).to_pylist()
    runs = groupby(zip(firsts, shards, strict=True), key=lambda pair: pair[0])
    found = {group: [shard for _, shard in run] for group, run in runs}
    return {group: held for group, held in found.items() if len(held) > 1}


def plan_maps(samples: Path, config: PredictConfig, model: str, one_group_per_shard: bool = False) -> list[Shard]:
    """Shards of at most `shard_size` images; `model` is the SHA-256 of the weights.

    A map depends on every image of its group. A shard's key therefore covers all samples of the groups in it.
    """
    rows = tables.read_table(samples, ["group", "name", "height", "width"])
    groups = rows["group"].to_pylist()
    entries = tables.load_manifest(samples)["shards"]
    sample_keys = [entry["key"] for entry in entries for _ in range(entry["rows"])]
    keys_of_groups: dict[str, set[str]] = defaultdict(set)
    for group, key in zip(groups, sample_keys, strict=True):
        keys_of_groups[group].add(key)
    group_keys = {group: tables.fingerprint(sorted(keys)) for group, keys in keys_of_groups.items()}
    subgroups = pa.array(name_subgroups(groups, config.subgroup_size), pa.string())
    rows = rows.append_column("whole", pa.array([group_keys[group] for group in groups], pa.string()))
    params = config.model_dump(include={"batch_size", "precision", "subgroup_size"})
    params |= {"refine": True} if config.refine else {}  # without it, keys are those of before there was the option
    params |= {} if config.looks is None else {"looks": config.looks}
    made_by = tables.make_key("predict", OUTPUT_VERSION, model, params)
    rows = rows.set_column(0, "group", subgroups)
    return tables.plan_shards(rows, config.shard_size, made_by, one_group_per_shard=one_group_per_shard)
