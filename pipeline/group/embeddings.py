"""The embeddings of a samples table, computed by any executor."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from icnet import checkpoint
from icnet.memory import estimate_memory
from pipeline import tables
from pipeline.group.config import GroupConfig
from pipeline.group.embedders import identify_embedder, resolve_embedding
from pipeline.group.worker import EmbedActor, ReadSamples
from pipeline.runtime.executor import Executor, Work
from pipeline.tables import Shard

OUTPUT_VERSION = 1
"""Part of the key of every shard (pipeline.tables.keys). Increase it when the same inputs give other embeddings."""


@dataclass(frozen=True)
class EmbeddingsMade:
    """Photographs with an embedding, and rejects; images computed now, and the seconds that took."""

    rows: int
    rejects: int
    computed: int
    seconds: float


@dataclass(frozen=True)
class EmbeddingsJob:
    """Tables, model and parameters of a run; `storage` is where the shards are stored."""

    samples: Path
    model: Path
    embeddings: Path
    config: GroupConfig
    storage: str | None = None

    def run(self, executor: Executor) -> EmbeddingsMade:
        """Compute the embeddings of the samples, or those that are missing.

        Raises TableError if the samples are unfinished, CheckpointError if `model` is not a checkpoint, and SodError if
        the network of `config.embedding` cannot be run.
        """
        embedding = resolve_embedding(self.config.embedding)
        made_by = identify_embedder(self.model, embedding)
        shards = plan_embeddings(self.samples, self.config, made_by)
        seconds = 0.0
        with tables.TableWriter(self.embeddings, shards, tables.EMBEDDINGS, self.storage) as writer:
            if writer.missing:
                with executor.connect():
                    seconds = self._compute(writer, embedding, executor)
            counts = writer.finish(stage="group", embedder=made_by)
        return EmbeddingsMade(counts.rows, counts.rejects, sum(map(len, writer.missing)), seconds)

    def _compute(self, writer: tables.TableWriter, embedding: str | None, executor: Executor) -> float:
        memory = estimate_memory(checkpoint.read_config(self.model), self.config.batch_size)
        pool = executor.plan_actors(self.config.num_actors, self.config.gpus_per_actor, wants_gpu=True, memory=memory)
        arguments = {
            "folder": writer.address,
            "model": str(self.model.resolve()),
            "embedding": embedding,
            "batch_size": self.config.batch_size,
            "context": executor.context,
        }
        read = ReadSamples(str(self.samples.resolve()))
        return executor.process_shards(
            writer.missing,
            Work(read.__call__, EmbedActor, arguments),
            pool,
            "embeddings",
            partial(tables.name_row, self.samples),
        )


def plan_embeddings(samples: Path, config: GroupConfig, embedder: str) -> list[Shard]:
    """Shards of at most `shard_size` images; `embedder` identifies what describes them."""
    rows = tables.read_table(samples, ["group", "name"])
    entries = tables.load_manifest(samples)["shards"]
    keys = [entry["key"] for entry in entries for _ in range(entry["rows"])]
    made_by = tables.make_key("group", OUTPUT_VERSION, embedder, {"batch_size": config.batch_size})
    return tables.plan_shards(rows.append_column("sample", pa.array(keys, pa.string())), config.shard_size, made_by)


@dataclass(frozen=True)
class Embeddings:
    """Embeddings [n, d] of length 1 and hashes [n] of n photographs, named by group and name."""

    keys: pa.Table
    vectors: NDArray[np.float16]
    hashes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.hashes)


def read_embeddings(folder: Path) -> Embeddings:
    """The table of embeddings: 2.3 kB a photograph with the network of this repository."""
    vectors, parts = [], []
    for shard in tables.iterate_shards(folder):
        flat = shard["embedding"].combine_chunks().flatten().to_numpy()
        vectors.append(flat.reshape(len(shard), -1) if len(shard) else np.zeros((0, 1), np.float16))
        parts.append(shard.select(["group", "name", "hash"]))
    table = pa.concat_tables(parts) if parts else pa.table({"group": [], "name": [], "hash": pa.array([], pa.int64())})
    found = [one for one in vectors if len(one)]
    joined = np.concatenate(found) if found else np.zeros((0, 1), np.float16)
    return Embeddings(table.select(["group", "name"]), joined, table["hash"].to_numpy())
