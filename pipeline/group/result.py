"""The result of stage group: rows of the file of groups, and a summary."""

from collections import Counter
from pathlib import Path

import pyarrow as pa

from pipeline import tables
from pipeline.group.clustering import UNSORTED, Grouping
from pipeline.group.embeddings import Embeddings
from pipeline.runtime.report import format_count
from pipeline.tables import GroupedPhoto

SHOWN_GROUPS = 8
"""Groups whose sizes a summary names."""


def list_photos(embeddings: Embeddings, grouping: Grouping, index: Path) -> list[GroupedPhoto]:
    """A row for each photograph, named by its path in the index."""
    rows = tables.read_table(index, ["group", "name", "image"])
    positions = tables.find_positions(embeddings.keys, rows)
    paths = rows["image"].take(pa.array(positions)).to_pylist()
    width = max(4, len(str(int(grouping.labels.max(initial=0)) + 1)))
    return [
        GroupedPhoto(
            path,
            None if label == UNSORTED else f"{label + 1:0{width}d}",
            float(confidence),
            paths[original] if original != place else None,
        )
        for place, (path, label, confidence, original) in enumerate(
            zip(paths, grouping.labels.tolist(), grouping.confidence.tolist(), grouping.copy_of.tolist(), strict=True)
        )
    ]


def describe_groups(photos: list[GroupedPhoto]) -> list[str]:
    """Sentences about the groups that were found."""
    sizes = Counter(photo.group for photo in photos if photo.group is not None)
    unsorted = sum(photo.group is None for photo in photos)
    copies = sum(photo.copy_of is not None for photo in photos)
    counts = sorted(sizes.values(), reverse=True)
    shown = ", ".join(map(str, counts[:SHOWN_GROUPS])) + (" ..." if len(counts) > SHOWN_GROUPS else "")
    lines = [f"{format_count(len(sizes), 'group')} of {shown} photographs" if sizes else "no group was found"]
    if unsorted:
        lines.append(f"{unsorted} of {format_count(len(photos), 'photograph')} belong to no group: unsorted")
    if copies:
        lines.append(f"{format_count(copies, 'photograph')} are copies of others, listed in copy_of")
    return lines
