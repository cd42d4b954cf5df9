"""Tables in storage, byte by byte: what DVC does for files of the repository, for the shards that it does not see.

`cosal verify data/samples/* data/maps/*` reads every shard that a receipt names. An altered one is
removed, so that the stage, run again, makes it and nothing else; `--sweep` removes shards that no receipt names.
"""

from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from pipeline import tables
from pipeline.runtime import parallel
from pipeline.tables import ShardStore


class DamageError(RuntimeError):
    """Shards that are missing or altered; the message says what to run."""


def is_altered(place: ShardStore, file: str) -> bool:
    """Whether a shard is missing or holds other bytes than its name says."""
    try:
        with place.open(file) as content:
            found = tables.digest_shard(content.read_buffer())
    except FileNotFoundError:
        return True
    return found != Path(file).stem.partition("-")[2]


def find_damage(folder: Path) -> list[str]:
    """The shards of a table in storage that are missing or altered; the altered ones are removed."""
    place, files = tables.find_store(folder), [entry["file"] for entry in tables.peek_manifest(folder)["shards"]]
    bad = []
    for file, wrong in zip(
        files, parallel.map_in_threads(lambda file: is_altered(place, file), tqdm(files, str(folder))), strict=True
    ):
        if wrong:
            place.remove(file)
            bad.append(file)
            print(f"verify: {place}/{file} is missing or was altered")
    return bad


def sweep_folder(folder: Path) -> int:
    """Remove the shards that a table's receipt does not name; returns how many. Older receipts lose theirs."""
    place, kept = tables.find_store(folder), {entry["file"] for entry in tables.peek_manifest(folder)["shards"]}
    strangers = [file for file in place.names() if file not in kept]
    list(parallel.map_in_threads(place.remove, strangers))
    return len(strangers)


def main(
    folders: Annotated[list[Path], typer.Argument(help="tables, e.g. data/samples/* data/maps/*")],
    sweep: Annotated[
        bool, typer.Option("--sweep", help="remove shards that these tables' receipts do not name")
    ] = False,
) -> None:
    """Read every shard of the tables FOLDERS that lie in storage; fails where one is missing or altered."""
    again = []
    for folder in folders:
        tables.read_rejects(folder)
        if tables.find_store(folder).own:
            print(f"verify: {folder} lies in the repository, where `dvc status` looks")
            continue
        bad = find_damage(folder)
        if bad:
            again.append(f"{tables.peek_manifest(folder)['stage']}@{folder.name}")
        else:
            print(f"verify: {folder}: {len(tables.peek_manifest(folder)['shards'])} shards are whole")
        if sweep:
            print(f"verify: {folder}: {sweep_folder(folder)} removed that its receipt does not name")
    if again:
        raise DamageError(f"run `dvc repro -f -s {' '.join(again)}`: only what is missing is made again")
