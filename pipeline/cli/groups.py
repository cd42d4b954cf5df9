"""Maps computed in this process, group by group: the first maps are written before the last group is read."""

import os
import shutil
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from pipeline import tables
from pipeline.predict.config import PredictConfig
from pipeline.predict.maps import MapsJob
from pipeline.runtime.progress import Progress
from pipeline.runtime.threads import StoppedError, ThreadExecutor, ThreadPool
from pipeline.sism.config import SismConfig
from pipeline.sism.known import KnownSamples
from pipeline.sism.samples import SamplesJob

SISM_BATCH_SIZE = 4
"""Photographs that one thread takes at once: few, so that all threads have work until the end."""

MAX_IMAGES_IN_PROCESS = 2000
"""More images are processed on Ray, whose start and end take half a minute: one twentieth of the time of so many."""

MAX_GROUPS_AT_ONCE = 4
"""Groups whose photographs are in memory at the same time."""


@dataclass(frozen=True)
class MadeTables:
    """Finished tables of one or more groups, and the number of maps that were predicted by this run."""

    samples: Path
    maps: Path
    predicted: int = 0


@dataclass(frozen=True)
class ModelChoice:
    """A checkpoint with the side of its input in px, and the parameters of the stages."""

    weights: Path
    size: int
    sism: SismConfig
    predict: PredictConfig


def needs_ray(wanted: bool | None, num_images: int) -> bool:
    """Whether to compute on Ray; None decides by the number of images, and RAY_ADDRESS."""
    if wanted is not None:
        return wanted
    return num_images > MAX_IMAGES_IN_PROCESS or bool(os.environ.get("RAY_ADDRESS"))


class GroupRun:
    """Computes the groups of an index. Threads of a pool work on the first groups first."""

    def __init__(
        self,
        index: Path,
        work: Path,
        model: ModelChoice,
        write_group: Callable[[MadeTables], None],
        known: KnownSamples | None = None,
    ) -> None:
        """`write_group` gets the finished tables of each group. `known`: samples that need not be made again."""
        self.root, self.rows = tables.load_manifest(index)["root"], tables.read_table(index)
        self.work, self.model, self.write_group, self.known = work, model, write_group, known

    def run(self, num_threads: int | None = None) -> list[MadeTables]:
        """Compute all groups, or what is missing of them; returns their tables in the order of their names.

        After an error or Ctrl-C, current batches are finished and the first error is raised.
        """
        groups = self._split_by_group()
        self._remove_other_groups([name for name, _ in groups])
        with (
            Progress("SISMs", len(self.rows)) as self.sism_progress,
            Progress("co-saliency maps", len(self.rows), position=1) as self.map_progress,
            ThreadPool(num_threads) as pool,
            ThreadPoolExecutor(min(MAX_GROUPS_AT_ONCE, pool.num_threads)) as coordinators,
        ):
            futures = [
                coordinators.submit(self._process_group, pool, number, name, rows)
                for number, (name, rows) in enumerate(groups)
            ]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                if not all(future.done() for future in futures):
                    pool.stop()
                    coordinators.shutdown(cancel_futures=True)
        errors = [error for future in futures if not future.cancelled() and (error := future.exception())]
        for error in sorted(errors, key=lambda error: isinstance(error, StoppedError)):
            raise error
        return [future.result() for future in futures]

    def _process_group(self, pool: ThreadPool, number: int, name: str, rows: pa.Table) -> MadeTables:
        folder = self._find_folder(name)
        index, made = folder / "index", MadeTables(folder / "samples", folder / "maps")
        tables.write_table(index, rows, [], stage="index", root=self.root)
        samples_job = SamplesJob(
            index, made.samples, self.model.sism, self.model.size, one_group_per_shard=True, known=self.known
        )
        samples = samples_job.run(ThreadExecutor(pool, number, self.sism_progress.update))
        self.sism_progress.update(samples.images - samples.computed)
        maps_job = MapsJob(
            made.samples,
            self.model.weights,
            made.maps,
            folder / "cues",
            self.model.predict,
            one_group_per_shard=True,
        )
        maps = maps_job.run(ThreadExecutor(pool, number, self.map_progress.update))
        self.map_progress.update(samples.images - maps.predicted)
        made = replace(made, predicted=maps.predicted)
        pool.map(self.write_group, [made], number)
        return made

    def _split_by_group(self) -> list[tuple[str, pa.Table]]:
        groups, start = [], 0
        for name, members in groupby(self.rows["group"].to_pylist()):
            stop = start + len(list(members))
            groups.append((name, self.rows.slice(start, stop - start)))
            start = stop
        return groups

    def _find_folder(self, group: str) -> Path:
        return self.work / "groups" / tables.fingerprint(group)

    def _remove_other_groups(self, names: list[str]) -> None:
        kept = {self._find_folder(name) for name in names}
        for folder in (self.work / "groups").glob("*"):
            if folder not in kept:
                shutil.rmtree(folder)
