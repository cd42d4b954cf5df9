"""Check tables in storage byte by byte: what DVC does for files of the repository, for shards that it does not see."""

from pathlib import Path

from tqdm import tqdm

from pipeline import tables
from pipeline.runtime import parallel
from pipeline.tables import ShardStore


class DamageError(RuntimeError):
    """Shards that are missing or altered; the message names the command that makes them again."""


def is_damaged(store: ShardStore, name: str) -> bool:
    """Whether a shard is missing, or its bytes do not have the digest in its name."""
    try:
        return store.digest_file(name) != tables.parse_shard_name(name)[1]
    except FileNotFoundError:
        return True


def find_damage(folder: Path) -> list[str]:
    """The shards of a table in storage that are missing or altered. Altered ones are removed."""
    store, names = tables.find_store(folder), [entry["file"] for entry in tables.list_entries(folder)]
    checked = parallel.prefetch(lambda name: is_damaged(store, name), tqdm(names, str(folder)))
    damaged = [name for name, wrong in zip(names, checked, strict=True) if wrong]
    for name in damaged:
        store.remove_file(name)
        print(f"verify: {store}/{name} is missing or was altered")
    return damaged


def remove_unlisted(folder: Path) -> int:
    """Remove the shards in storage that the manifest of a table does not name; returns their number.

    Older versions of the table, in other commits, lose theirs.
    """
    store, kept = tables.find_store(folder), {entry["file"] for entry in tables.list_entries(folder)}
    unlisted = [name for name in store.list_files() if name not in kept]
    for _ in parallel.prefetch(store.remove_file, unlisted):
        pass
    return len(unlisted)


def verify_tables(folders: list[Path], sweep: bool = False) -> None:
    """Read every shard of tables in storage. `sweep`: also remove the shards that their manifests do not name.

    Raises DamageError if one is missing or altered, and TableError if a table is unfinished.
    """
    commands = []
    for folder in folders:
        manifest = tables.require_manifest(folder)
        if tables.find_store(folder).in_table_folder:
            print(f"verify: {folder} is in the repository: `dvc status` compares it")
            continue
        if find_damage(folder):
            commands.append(f"{manifest.get('stage')}@{folder.name}")
        else:
            print(f"verify: {folder}: {len(manifest['shards'])} shards are whole")
        if sweep:
            print(f"verify: {folder}: {remove_unlisted(folder)} shards removed that its manifest does not name")
    if commands:
        raise DamageError(f"run `dvc repro -f -s {' '.join(commands)}`: only what is missing is made again")
