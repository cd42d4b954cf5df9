"""What a stage says at its end: how many, how long, what was refused, where to look."""

from pathlib import Path

from pipeline import tables

EXAMPLES = 3


def tell(stage: str, *lines: str, rejects: Path | None = None, lost: list[str] | None = None) -> None:
    """Print the lines, then the first rejects of the table in the folder `rejects` and the groups `lost` to them."""
    for line in lines:
        print(f"{stage}: {line}")
    refused = tables.read_rejects(rejects).to_pylist() if rejects is not None else []
    if refused:
        print(f"{stage}: {len(refused)} files refused, listed in {rejects / tables.REJECTS_FILE}")
        for row in refused[:EXAMPLES]:
            print(f"{stage}:   {row['path']!r}: {row['reason']}")
    for group in lost or []:
        print(f"{stage}: group {group!r} lost all its images", flush=True)
