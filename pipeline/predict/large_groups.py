"""Groups that are spread over several shards: their cues and weights are computed before their maps."""

from functools import partial
from pathlib import Path
from typing import Any

from icnet.correlation import Cues
from pipeline import tables
from pipeline.predict.actors import CuesActor, WeightsActor
from pipeline.predict.cue_files import (
    GroupPart,
    load_cues,
    name_cues_file,
    name_merged_file,
    name_weights_file,
    save_cues,
)
from pipeline.predict.inputs import ReadSamples
from pipeline.predict.plan import MAX_SAMPLED_IMAGES
from pipeline.runtime.executor import ActorPool, Executor, Work
from pipeline.tables import Shard


def prepare_large_groups(
    large_groups: dict[str, list[Shard]],
    missing: list[Shard],
    work: Path,
    read: ReadSamples,
    network: dict[str, Any],
    executor: Executor,
    pool: ActorPool,
) -> dict[str, GroupPart]:
    """Compute the cues and weights of the large groups that have `missing` shards; returns their parts by shard key.

    There is one pass over the shards for each look. Results are kept in `work`, a folder that all workers share, so
    that an interrupted run continues.
    """
    missing_keys = {shard.key for shard in missing}
    groups = [shards for shards in large_groups.values() if any(shard.key in missing_keys for shard in shards)]
    if not groups:
        return {}
    name_row = partial(tables.name_row, read.samples)
    work, looks = work.resolve(), network["looks"]
    arguments = {"folder": str(work), **network}
    group_keys = {shard.key: shards[0].key for shards in groups for shard in shards}
    for look in range(looks):
        todo = [shard for shards in groups for shard in shards if not name_cues_file(work, shard.key, look).is_file()]
        look_arguments = {"look": look, "group_keys": group_keys, **arguments}
        label = f"SIVs of large groups, look {look + 1} of {looks}"
        executor.process_shards(
            todo, Work(read.__call__, CuesActor, look_arguments), pool, label, name_row, may_skip=False
        )
        for shards in groups:
            _merge_cues(shards, work, look)
    todo = [whole for whole in map(_join_shards, groups) if not name_weights_file(work, whole.key).is_file()]
    read_some = ReadSamples(str(read.samples), read.subgroup_size, MAX_SAMPLED_IMAGES)
    work_of_sample = Work(read_some.__call__, WeightsActor, arguments)
    executor.process_shards(todo, work_of_sample, pool, "weights in large groups", name_row, may_skip=False)
    return {shard.key: _make_part(shard, shards[0], work, looks - 1) for shards in groups for shard in shards}


def _merge_cues(shards: list[Shard], work: Path, look: int) -> None:
    file = name_merged_file(work, shards[0].key, look)
    if not file.is_file():
        save_cues(Cues.merge([load_cues(name_cues_file(work, shard.key, look)) for shard in shards]), file)


def _join_shards(shards: list[Shard]) -> Shard:
    return Shard(shards[0].number, shards[0].start, shards[-1].stop, shards[0].key)


def _make_part(shard: Shard, first: Shard, work: Path, look: int) -> GroupPart:
    cues, weights = name_merged_file(work, first.key, look), name_weights_file(work, first.key)
    return GroupPart(str(cues), str(weights), shard.start - first.start)
