"""Stage index: a collection's folders -> index. Every file is read once, its header checked, no pixel decoded."""

import hashlib
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer
from pydantic import Field
from tqdm import tqdm

from icnet import images
from pipeline import collection, command, params, summary, tables
from pipeline.collection import Entry, Group, reject
from pipeline.layouts import CollectionError, Dataset, find_folders

CHUNK = 32
"""Images a thread takes at once."""

REASONS = 5
"""Kinds of reason that the summary counts one by one."""

NO_MASK = "has no mask: its map is predicted, not scored"

BATCH = 4096
"""Rows held as Python objects before they are packed."""


class Params(params.Section):
    """What is refused, and how many files are read at once."""

    strict: bool = False
    threads: int = Field(8, ge=1)
    megabytes: int = Field(256, ge=1)
    smallest: int = Field(8, ge=1)


class FileError(ValueError):
    """A file that cannot be used, with its path below the root."""

    def __init__(self, path: str, reason: str, error: str = "CollectionError") -> None:
        super().__init__(reason)
        self.path, self.error = path, error


class Check:
    """Reads the files of images and gives a row of the index, or a row of the rejects, for each."""

    def __init__(self, root: Path, knobs: Params) -> None:
        self.root, self.knobs = root, knobs

    def __call__(self, entries: list[Entry]) -> list[dict]:
        return [self._check(entry) for entry in entries]

    def _check(self, entry: Entry) -> dict:
        digest = hashlib.blake2b(digest_size=16)
        row = {"group": entry.group, "name": entry.name, "image": entry.image, "mask": entry.mask, "void": entry.void}
        try:
            (row["height"], row["width"]), row["bytes"] = self._read(entry.image, digest)
            self._check_side(entry.image, row["height"], row["width"])
            for kind, path in (("mask", entry.mask), ("void mask", entry.void)):
                digest.update(b"\0" if path is None else b"\1")
                if path is not None:
                    self._check_size(kind, path, self._read(path, digest)[0], row)
        except FileError as refused:
            alone = refused.path == entry.image
            reason = str(refused) if alone else f"{refused}; its image {entry.image!r} is left out with it"
            return reject(refused.path, entry.group, reason, refused.error)
        return {**row, "digest": digest.hexdigest(), "unmasked": entry.unmasked}

    def _read(self, path: str, digest: "hashlib._Hash") -> tuple[tuple[int, int], int]:
        file = self.root / path
        try:
            if file.stat().st_size > self.knobs.megabytes << 20:
                raise FileError(path, f"is larger than index.megabytes allows: {file.stat().st_size >> 20} MB")
            data = file.read_bytes()
            digest.update(len(data).to_bytes(8, "big"))
            digest.update(data)
            return images.size(data), len(data)
        except OSError as error:
            raise FileError(path, f"cannot be read: {error.strerror}", type(error).__name__) from None
        except images.BadImage as error:
            raise FileError(path, str(error), type(error).__name__) from None

    def _check_side(self, path: str, height: int, width: int) -> None:
        if min(height, width) < self.knobs.smallest:
            raise FileError(path, f"is smaller than index.smallest allows: {height} x {width} px")

    def _check_size(self, kind: str, path: str, size: tuple[int, int], row: dict) -> None:
        if size != (row["height"], row["width"]):
            sizes = f"{size[0]} x {size[1]} px, the image {row['height']} x {row['width']} px"
            raise FileError(path, f"is a {kind} of another size than its image: {sizes}")


@dataclass
class Found:
    """What is known so far: packed rows, rejects, and how many images each group had and kept."""

    packed: list[pa.Table] = field(default_factory=list)
    rows: list[dict] = field(default_factory=list)
    rejects: list[dict] = field(default_factory=list)
    folders: dict[str, str] = field(default_factory=dict)
    seen: Counter = field(default_factory=Counter)
    kept: Counter = field(default_factory=Counter)

    def entries(self, groups: Iterable[Group]) -> Iterator[Entry]:
        """The groups' images one after another; what was refused by name is noted on the way."""
        for group in groups:
            self.rejects += group.rejects
            if group.name:
                self.folders[group.name] = group.folder
            yield from group.entries

    def add(self, results: Iterable[dict]) -> None:
        """Note rows and rejects of checked images."""
        for result in results:
            self.seen[result["group"]] += 1
            if "digest" not in result:
                self.rejects.append(result)
                continue
            self.kept[result["group"]] += 1
            self.rows.append(result)
            if result.pop("unmasked"):
                self.rejects.append(reject(result["image"], result["group"], NO_MASK))
        if len(self.rows) >= BATCH:
            self.pack()

    def pack(self) -> None:
        """Turn the rows held so far into columns."""
        self.packed.append(pa.Table.from_pylist(self.rows, schema=tables.INDEX))
        self.rows = []

    def table(self) -> pa.Table:
        """All rows, in the order of (group, name)."""
        self.pack()
        return pa.concat_tables(self.packed)

    def lost(self) -> list[str]:
        """Groups without a single good image."""
        return sorted(group for group in self.folders if not self.kept[group])


def check_all(entries: Iterator[Entry], check: Check, threads: int) -> Iterator[list[dict]]:
    """Results in the order of the entries, chunk by chunk; only a few chunks are under way at any time."""
    with ThreadPoolExecutor(threads) as pool:
        running: deque[Future] = deque()
        while chunk := list(islice(entries, CHUNK)):
            running.append(pool.submit(check, chunk))
            if len(running) > 2 * threads:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def scan(root: Path, dataset: Dataset, knobs: Params) -> Found:
    """Look at every file of a collection. Raises CollectionError where there is no usable image in it."""
    folders, found = find_folders(root, dataset.layout), Found()
    groups = collection.walk(root, folders, dataset.exclude)
    total = collection.count(root, folders, dataset.exclude)
    with tqdm(total=total, unit="image", desc="files checked", mininterval=1.0) as bar:
        for results in check_all(found.entries(groups), Check(root, knobs), knobs.threads):
            found.add(results)
            bar.update(len(results))
        bar.total = bar.n
    for group in found.lost():
        if found.seen[group]:
            reason = f"lost all its images: {found.seen[group]} refused, none left"
            found.rejects.append(reject(found.folders[group], group, reason))
    return found


def make(root: Path, out: Path, dataset: Dataset, knobs: Params) -> None:
    """Make the index of a collection.

    Later stages find the root in the receipt, as it was given. Raises CollectionError where there is no usable image,
    or where `strict` is set and a file was refused.
    """
    began = time.perf_counter()
    found = scan(root, dataset, knobs)
    table = found.table()
    facts = {"stage": "index", "root": str(root), "images": len(table), "content": _content(table)}
    counts = tables.write_whole(out, table, found.rejects, **facts)
    _tell(found, table, out, time.perf_counter() - began)
    if not counts.rows:
        raise CollectionError(f"no usable image under {root}: expected images/<group>/*, or set datasets.<name>.layout")
    if knobs.strict and counts.rejects:
        for row in tables.read_rejects(out).to_pylist():
            print(f"index: {row['path']!r}: {row['reason']}")
        raise CollectionError(f"{counts.rejects} files were refused and index.strict is set")


def _content(table: pa.Table) -> str:
    """A short name of all rows: it changes with any file's place or bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for batch in table.select(["image", "mask", "void", "digest"]).to_batches():
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            digest.update(f"{row}\n".encode())
    return digest.hexdigest()


def _tell(found: Found, table: pa.Table, out: Path, seconds: float) -> None:
    masks = len(table) - table.column("mask").null_count
    void = len(table) - table.column("void").null_count
    groups = sum(1 for count in found.kept.values() if count)
    rate = sum(found.seen.values()) / max(seconds, 1e-9)
    lines = [
        f"{len(table)} images in {groups} group{'s' * (groups != 1)}, {masks} with a mask"
        + (f", {void} with a void mask" if void else ""),
        f"{seconds:.1f} s, {rate:.0f} images/s; the table is in {out}",
    ]
    reasons = Counter(row["reason"].partition(":")[0] for row in found.rejects)
    if reasons:
        said = [f'{count} x "{reason}"' for reason, count in reasons.most_common(REASONS)]
        more = f"; {len(reasons) - REASONS} more reasons" if len(reasons) > REASONS else ""
        lines.append(f"refused: {'; '.join(said)}{more}")
    summary.tell("index", *lines, rejects=out, lost=found.lost())


def main(
    root: Path,
    out: Path,
    dataset: Annotated[str, typer.Option(help="Name of the collection in params.yaml: datasets.")],
) -> None:
    """Write the INDEX table of the collection at ROOT into OUT."""
    section = params.load(f"datasets.{dataset}", Dataset)
    make(root, out, section, params.load("index", Params))


if __name__ == "__main__":
    command.run("pipeline.index")
