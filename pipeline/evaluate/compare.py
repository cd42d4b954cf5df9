"""Score the maps of one folder against the masks of another, both `<group>/<name>.png`: the core of `cosal score`."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icnet import images
from pipeline import gallery
from pipeline.evaluate.folders import find_maps, format_keys
from pipeline.metrics.aggregate import Scores
from pipeline.metrics.pysod import score_map_at
from pipeline.metrics.score import PAPER, Key, Score
from pipeline.runtime.progress import Progress


@dataclass(frozen=True)
class Comparison:
    """The scores of the maps that have a mask, and what could not be scored."""

    convention: str
    """One of CONVENTIONS."""
    scores: Scores
    missing: list[Key]
    """Masks without a map."""
    extra: list[Key]
    """Maps without a mask."""
    unusable: dict[Key, str]
    """Why a map, a mask or a void mask could not be read."""

    def content(self) -> dict[str, Any]:
        """Everything as JSON content."""
        return {
            "convention": self.convention,
            "images": self.scores.images,
            "overall": self.scores.overall(),
            "macro": self.scores.macro(),
            "groups": self.scores.by_group(),
            "missing": ["/".join(key) for key in self.missing],
            "extra": ["/".join(key) for key in self.extra],
            "unusable": {"/".join(key): reason for key, reason in self.unusable.items()},
        }

    def sentences(self) -> list[str]:
        """What could not be scored, as messages."""
        lines = []
        if self.missing:
            lines.append(f"{len(self.missing)} masks have no map and are not scored: {format_keys(self.missing)}")
        if self.extra:
            lines.append(f"{len(self.extra)} maps have no mask and are not scored: {format_keys(self.extra)}")
        return lines + [f"{'/'.join(key)} is not scored: {reason}" for key, reason in self.unusable.items()]


def compare_folders(
    maps: Path, masks: Path, void: Path | None = None, size: int | None = None, convention: str = PAPER
) -> Comparison:
    """Score maps at `size` x `size` px, or at the size of each mask, by one of CONVENTIONS.

    Pixels of `void` masks are ignored.

    Raises FolderError if a folder is missing or holds no maps.
    """
    truth = find_maps(masks)
    found = find_maps(maps, truth.files)
    voids = find_maps(void).files if void is not None else {}
    side = None if size is None else (size, size)

    def score_one(key: Key) -> tuple[Key, Score | str]:
        try:
            ignored = images.decode_mask(voids[key].read_bytes()) if key in voids else None
            pair = images.decode_gray(found.files[key].read_bytes()), images.decode_mask(truth.files[key].read_bytes())
            return key, score_map_at(*pair, ignored, side, convention)
        except (OSError, images.ImageError) as error:
            return key, str(error)

    with ThreadPoolExecutor(os.cpu_count()) as pool, Progress("scores", len(found.files)) as progress:
        results = []
        for result in pool.map(score_one, found.files):
            results.append(result)
            progress.update(1)
    scored = [(key, score) for key, score in results if isinstance(score, Score)]
    unusable = {key: reason for key, reason in results if isinstance(reason, str)}
    extra = [key for key in found.extra if key[0] != gallery.FOLDER]  # thumbnails of a page beside the maps
    return Comparison(convention, Scores.of(scored), found.missing, extra, unusable)
