"""The tables that stages exchange: their schemas, their shards, and the receipt that makes a table whole.

A table is a folder of Parquet shards, sorted by (group, name), beside `rejects.parquet` and `receipt.json`. Each
shard carries the key of the work that made it, so a rerun keeps the shards whose key still fits and makes only the
others. The receipt is written last: without it the table does not count as finished.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

KEY = [("group", pa.string()), ("name", pa.string())]

INDEX = pa.schema(
    [
        *KEY,
        *((name, pa.string()) for name in ("image", "mask", "void")),
        *((name, pa.int32()) for name in ("height", "width")),
        ("bytes", pa.int64()),
        ("digest", pa.string()),
    ]
)
"""One image a row. `image`, `mask`, `void`: paths below the collection's root; height, width in px, upright;
`digest`: BLAKE2 of the bytes of image, mask and void, so that a changed file changes its row."""

REJECTS = pa.schema([(name, pa.string()) for name in ("path", "group", "stage", "reason", "error")])
"""One bad file a row: where it is, which stage refused it, one sentence why, the exception's class."""

SAMPLES = pa.schema(
    [
        *KEY,
        *((name, pa.binary()) for name in ("image", "sism", "mask")),
        *((name, pa.int32()) for name in ("height", "width")),
        ("digest", pa.string()),
    ]
)
"""One image a row. `image`: s x s RGB PNG; `sism`, `mask`: s x s gray PNG, mask null where there is none;
`digest`: SHA-256 of the original image file's bytes (equal digests are one photograph)."""

MAPS = pa.schema(
    [
        *KEY,
        ("map", pa.binary()),
        *((name, pa.float32()) for name in ("weight", "area", "agreement", "saliency")),
    ]
)
"""One image a row. `map`: co-saliency map, gray PNG at the image's original size; `weight`: how much the CSA maps of
its shard lean on this image's SIV, 1 = as much as on an average member of the group; `area`: share of salient pixels;
`agreement`: intersection over union of the map and the SISM, both cut at one half; `saliency`: mean of its SISM."""

REJECTS_FILE = "rejects.parquet"
RECEIPT_FILE = "receipt.json"


class TableError(RuntimeError):
    """A table that is missing, unfinished or damaged; the message names the folder and what to run."""


@dataclass(frozen=True)
class Shard:
    """A unit of work and of storage: rows `start` to `stop` of the table it is planned from."""

    number: int
    start: int
    stop: int
    key: str

    @property
    def file(self) -> str:
        """The shard's file name."""
        return f"shard-{self.number:06d}.parquet"

    def __len__(self) -> int:
        return self.stop - self.start


def fingerprint(*parts: Any) -> str:
    """A short name of whatever JSON can hold: equal parts, equal name."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def plan(rows: pa.Table, most: float, *made_by: Any, weights: Sequence[float] | None = None) -> list[Shard]:
    """Cut `rows` (sorted by group) into shards of at most `most` images, whole groups together where they fit.

    Depends on nothing but the rows, `most` and `weights` (each row's share of `most`, 1 by default). A shard's key
    holds its rows and `made_by`: whatever else decides its bytes.
    """
    groups = rows.column("group").to_pylist()
    weights = weights if weights is not None else [1.0] * len(groups)
    return [
        Shard(number, start, stop, fingerprint(rows.slice(start, stop - start).to_pydict(), *made_by))
        for number, (start, stop) in enumerate(_cuts(groups, weights, most))
    ]


def _cuts(groups: list[str], weights: Sequence[float], most: float) -> Iterator[tuple[int, int]]:
    start, held = 0, 0.0
    for first, last in _runs(groups):
        size = sum(weights[first:last])
        if start < first and held + size > most:
            yield start, first
            start, held = first, 0.0
        if size <= most:
            held += size
            continue
        for row in range(first, last):
            if row > start and held + weights[row] > most:
                yield start, row
                start, held = row, 0.0
            held += weights[row]
        yield start, last
        start, held = last, 0.0
    if start < len(groups):
        yield start, len(groups)


def _runs(groups: list[str]) -> Iterator[tuple[int, int]]:
    start = 0
    for row in range(1, len(groups) + 1):
        if row == len(groups) or groups[row] != groups[start]:
            yield start, row
            start = row


def write_atomically(table: pa.Table, file: Path, together: int = 64) -> None:
    """Write a Parquet file that is either whole or not there; `together`: rows that are read at once."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.part")
    pq.write_table(table, temporary, compression="zstd", row_group_size=together, write_page_checksum=True)
    with temporary.open("rb") as handle:
        os.fsync(handle.fileno())
    temporary.replace(file)


def write_shard(folder: Path, shard: Shard, schema: pa.Schema, rows: list[dict], rejects: list[dict]) -> None:
    """Write one shard; its rejects travel in the file's metadata until the table is finished."""
    metadata = {"key": shard.key, "rejects": json.dumps(rejects), "planned": str(len(shard))}
    rows = sorted(rows, key=lambda row: (row["group"], row["name"]))
    write_atomically(pa.Table.from_pylist(rows, schema=schema.with_metadata(metadata)), folder / shard.file)


def begin(folder: Path, shards: list[Shard]) -> list[Shard]:
    """Open a table for work: take its receipt away and return the shards still to be made."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECEIPT_FILE).unlink(missing_ok=True)
    for leftover in folder.glob(".*.part"):
        leftover.unlink(missing_ok=True)
    return [shard for shard in shards if _metadata(folder / shard.file).get("key") != shard.key]


def finish(folder: Path, shards: list[Shard], schema: pa.Schema, **facts: Any) -> "Counts":
    """Check that every planned row is a row or a reject, drop files of older plans, and sign the receipt.

    Raises TableError where a shard is missing or rows were lost.
    """
    if not shards:
        return write_whole(folder, schema.empty_table(), [], **facts)
    rejects, entries, rows = [], [], 0
    for shard in shards:
        file = folder / shard.file
        metadata = _metadata(file)
        if metadata.get("key") != shard.key:
            raise TableError(f"{file} was not made by this plan: run the stage again")
        refused = json.loads(metadata["rejects"])
        count = pq.read_metadata(file).num_rows
        if count + len({(row["group"], row["name"]) for row in refused}) != len(shard):
            raise TableError(f"{file} holds {count} rows and {len(refused)} rejects of {len(shard)} planned images")
        rejects += refused
        rows += count
        entries.append({"file": shard.file, "rows": count, "bytes": file.stat().st_size, "key": shard.key})
    expected = {entry["file"] for entry in entries}
    for stranger in folder.glob("shard-*.parquet"):
        if stranger.name not in expected:
            stranger.unlink()
    write_rejects(rejects, folder)
    _sign(folder, {"rows": rows, "rejects": len(rejects), "shards": entries, **facts})
    return Counts(rows, len(rejects))


@dataclass(frozen=True)
class Counts:
    """Images that stand in a table and files that were refused."""

    rows: int
    rejects: int


def write_whole(folder: Path, table: pa.Table, rejects: list[dict], **facts: Any) -> Counts:
    """Write a small table in one piece: one shard, its rejects and its receipt."""
    shard = Shard(0, 0, len(table), fingerprint(facts))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECEIPT_FILE).unlink(missing_ok=True)
    for stranger in folder.glob("shard-*.parquet"):
        if stranger.name != shard.file:
            stranger.unlink()
    write_atomically(table, folder / shard.file, together=1 << 16)
    write_rejects(rejects, folder)
    entry = {
        "file": shard.file,
        "rows": len(table),
        "bytes": (folder / shard.file).stat().st_size,
        "key": shard.key,
    }
    _sign(folder, {"rows": len(table), "rejects": len(rejects), "shards": [entry], **facts})
    return Counts(len(table), len(rejects))


def write_rejects(rejects: list[dict], folder: Path) -> None:
    """Write a table's rejects, sorted by path."""
    rows = sorted(
        ({field: row.get(field) for field in REJECTS.names} for row in rejects),
        key=lambda row: (row["path"] or "", row["reason"] or ""),
    )
    write_atomically(pa.Table.from_pylist(rows, schema=REJECTS), folder / REJECTS_FILE)


def read(folder: Path, columns: Iterable[str] | None = None) -> pa.Table:
    """The whole table in the order of (group, name). Raises TableError where it is missing or unfinished."""
    files = [folder / entry["file"] for entry in receipt(folder)["shards"]]
    wanted = list(columns) if columns is not None else None
    return pa.concat_tables(
        [pq.read_table(file, columns=wanted, partitioning=None).replace_schema_metadata() for file in files]
    )


def read_rows(folder: Path, start: int, stop: int, columns: Iterable[str] | None = None) -> pa.Table:
    """Rows `start` to `stop` of the whole table, reading only the row groups that hold them."""
    wanted, parts, before = list(columns) if columns is not None else None, [], 0
    for entry in receipt(folder)["shards"]:
        if before < stop and start < before + entry["rows"]:
            parts.append(_rows_of_file(folder / entry["file"], max(0, start - before), stop - before, wanted))
        before += entry["rows"]
    return pa.concat_tables(parts)


def _rows_of_file(file: Path, start: int, stop: int, columns: list[str] | None) -> pa.Table:
    with pq.ParquetFile(file) as content:
        sizes = [content.metadata.row_group(number).num_rows for number in range(content.num_row_groups)]
        ends = list(accumulate(sizes))
        held = [number for number, end in enumerate(ends) if end > start and end - sizes[number] < stop]
        first = ends[held[0]] - sizes[held[0]]
        found = content.read_row_groups(held, columns=columns).replace_schema_metadata()
    return found.slice(start - first, stop - start)


def read_rejects(folder: Path) -> pa.Table:
    """A finished table's rejects."""
    receipt(folder)
    return pq.read_table(folder / REJECTS_FILE)


def receipt(folder: Path) -> dict[str, Any]:
    """What the finished table says of itself. Raises TableError where it is missing, unfinished or damaged."""
    file = folder / RECEIPT_FILE
    if not file.is_file():
        raise TableError(f"{folder} holds no finished table: run `dvc repro`, it continues from what is there")
    content = json.loads(file.read_text())
    for entry in content["shards"]:
        shard = folder / entry["file"]
        if not shard.is_file() or shard.stat().st_size != entry["bytes"]:
            raise TableError(f"{shard} is missing or not the file that {file} names: run `dvc repro` again")
    return content


def _sign(folder: Path, content: dict[str, Any]) -> None:
    write_json(folder / RECEIPT_FILE, content)


def write_json(file: Path, content: Any) -> None:
    """Write JSON that is either whole or not there."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.part")
    temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    temporary.replace(file)


def _metadata(file: Path) -> dict[str, str]:
    try:
        found = pq.read_schema(file).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return {}
    return {key.decode(): value.decode() for key, value in found.items()}
