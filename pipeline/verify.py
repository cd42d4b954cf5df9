"""Tables in storage, byte by byte: what DVC does for files of the repository, for the shards that it does not see.

`python -m pipeline.verify data/samples/* data/maps/*` reads every shard that a receipt names. An altered one is
removed, so that the stage, run again, makes it and nothing else; `--sweep` removes shards that no receipt names.
"""

from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from pipeline import command, storage, tables
from pipeline.storage import Place


class DamageError(RuntimeError):
    """Shards that are missing or altered; the message says what to run."""


def altered(place: Place, file: str) -> bool:
    """Whether a shard is missing or holds other bytes than its name says."""
    try:
        with place.open(file) as content:
            found = storage.digest(content.read_buffer())
    except FileNotFoundError:
        return True
    return found != Path(file).stem.partition("-")[2]


def check(folder: Path) -> list[str]:
    """The shards of a table in storage that are missing or altered; the altered ones are removed."""
    place, files = tables.place_of(folder), [entry["file"] for entry in tables.signature(folder)["shards"]]
    bad = []
    for file, wrong in zip(
        files, storage.each(lambda file: altered(place, file), tqdm(files, str(folder))), strict=True
    ):
        if wrong:
            place.remove(file)
            bad.append(file)
            print(f"verify: {place}/{file} is missing or was altered")
    return bad


def swept(folder: Path) -> int:
    """Remove the shards that a table's receipt does not name; returns how many. Older receipts lose theirs."""
    place, kept = tables.place_of(folder), {entry["file"] for entry in tables.signature(folder)["shards"]}
    strangers = [file for file in place.names() if file not in kept]
    list(storage.each(place.remove, strangers))
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
        if tables.place_of(folder).own:
            print(f"verify: {folder} lies in the repository, where `dvc status` looks")
            continue
        bad = check(folder)
        if bad:
            again.append(f"{tables.signature(folder)['stage']}@{folder.name}")
        else:
            print(f"verify: {folder}: {len(tables.signature(folder)['shards'])} shards are whole")
        if sweep:
            print(f"verify: {folder}: {swept(folder)} removed that its receipt does not name")
    if again:
        raise DamageError(f"run `dvc repro -f -s {' '.join(again)}`: only what is missing is made again")


if __name__ == "__main__":
    command.run("pipeline.verify")
