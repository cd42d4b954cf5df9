"""Groups that are spread over several shards: their cues and weights are computed before their maps."""

from pathlib import Path
from typing import Any

from icnet.correlation import Cues
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
from pipeline.runtime import stream
from pipeline.tables import Shard


def prepare_large_groups(
    large_groups: dict[str, list[Shard]],
    missing: list[Shard],
    work: Path,
    read: ReadSamples,
    network: dict[str, Any],
    pool: stream.ActorPool,
) -> dict[str, GroupPart]:
    """Compute the cues and weights of the large groups that have `missing` shards; returns their parts by shard key.

    Results are kept in `work`, a folder that all workers share, so that an interrupted run continues.
    """
    missing_keys = {shard.key for shard in missing}
    groups = [shards for shards in large_groups.values() if any(shard.key in missing_keys for shard in shards)]
    work = work.resolve()
    arguments = {"folder": str(work), **network}
    todo = [shard for shards in groups for shard in shards if not name_cues_file(work, shard.key).is_file()]
    stream.process_shards(todo, read.__call__, CuesActor, arguments, pool, "SIVs of large groups")
    for shards in groups:
        _merge_cues(shards, work)
    todo = [whole for whole in map(_join_shards, groups) if not name_weights_file(work, whole.key).is_file()]
    read_some = ReadSamples(str(read.samples), read.subgroup_size, MAX_SAMPLED_IMAGES)
    stream.process_shards(todo, read_some.__call__, WeightsActor, arguments, pool, "weights in large groups")
    return {shard.key: _make_part(shard, shards[0], work) for shards in groups for shard in shards}


def _merge_cues(shards: list[Shard], work: Path) -> None:
    file = name_merged_file(work, shards[0].key)
    if not file.is_file():
        save_cues(Cues.merge([load_cues(name_cues_file(work, shard.key)) for shard in shards]), file)


def _join_shards(shards: list[Shard]) -> Shard:
    return Shard(shards[0].number, shards[0].start, shards[-1].stop, shards[0].key)


def _make_part(shard: Shard, first: Shard, work: Path) -> GroupPart:
    cues, weights = name_merged_file(work, first.key), name_weights_file(work, first.key)
    return GroupPart(str(cues), str(weights), shard.start - first.start)
