"""Large groups, spread over several shards: their SIVs and weights are gathered before the maps are predicted."""

from pathlib import Path
from typing import Any

import ray
from safetensors.torch import load_file

from icnet.correlation import Cues
from pipeline.predict.actors import CuesActor, GatheredCues, WeightsActor
from pipeline.predict.cues_files import load_cues, name_cues_file, name_weights_file
from pipeline.predict.inputs import ReadSamples
from pipeline.predict.plan import MAX_SAMPLED_IMAGES
from pipeline.runtime import stream
from pipeline.tables import Shard


def gather_cues(
    large: dict[str, list[Shard]],
    missing: list[Shard],
    work: Path,
    read: ReadSamples,
    network: dict[str, Any],
    pool: stream.ActorPool,
) -> GatheredCues:
    """The passes before the maps, over the large units that maps are still missing of; `work` keeps their results."""
    wanted = {shard.key for shard in missing}
    units = [found for found in large.values() if any(shard.key in wanted for shard in found)]
    work.mkdir(parents=True, exist_ok=True)
    network = {"folder": str(work.resolve()), **network}
    todo = [shard for found in units for shard in found if not name_cues_file(work, shard.key).is_file()]
    stream.process_shards(todo, read.__call__, CuesActor, network, pool, "SIVs of large groups")
    cues = {}
    for found in units:
        cues[found[0].key] = ray.put(Cues.merge([load_cues(name_cues_file(work, shard.key)) for shard in found]))
    wholes = [Shard(found[0].number, found[0].start, found[-1].stop, found[0].key) for found in units]
    todo = [shard for shard in wholes if not name_weights_file(work, shard.key).is_file()]
    sample = ReadSamples(str(read.samples), read.cut, MAX_SAMPLED_IMAGES)
    stream.process_shards(
        todo, sample.__call__, WeightsActor, {"cues": cues, **network}, pool, "weights in large groups"
    )
    gathered: GatheredCues = {}
    for found in units:
        weights = load_file(name_weights_file(work, found[0].key))["weights"]
        whole = ray.put((ray.get(cues[found[0].key]), weights))
        gathered |= {shard.key: (whole, shard.start - found[0].start) for shard in found}
    return gathered
