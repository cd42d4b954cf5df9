"""A copy of the repository to run the pipeline in, and the demo made small."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

BIN = Path(sys.executable).parent


def clone(root: Path, target: Path) -> Path:
    """A clone of the repository as it is on disk, with changed, new and without deleted files."""
    subprocess.run(["git", "clone", "-q", str(root), str(target)], check=True)
    for name in _list_files(root, "-mo", "--exclude-standard"):
        if (root / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, target / name)
    for name in _list_files(root, "-d"):
        (target / name).unlink()
    return target


def _list_files(root: Path, *options: str) -> list[str]:
    return subprocess.run(
        ["git", "ls-files", *options], cwd=root, capture_output=True, text=True, check=True
    ).stdout.splitlines()


def change_params(folder: Path, **sections: Any) -> None:
    """Set options in params.yaml; a mapping is merged into its section."""
    file = folder / "params.yaml"
    content = yaml.safe_load(file.read_text())
    for name, value in sections.items():
        content[name] = {**(content.get(name) or {}), **value} if isinstance(value, dict) else value
    file.write_text(yaml.safe_dump(content, sort_keys=False))


def make_environment(folder: Path, **variables: str) -> dict[str, str]:
    """The environment of a shell in the copy, without what this process has for Ray, MLflow and DVC."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_", "DVC_"))}
    return {
        **kept,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        "OMP_NUM_THREADS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_raylet_start_wait_time_s": "300",  # on a busy machine
        **variables,
    }


def run_dvc(folder: Path, *arguments: str) -> str:
    """Run `dvc` in the copy and return its standard output. Raises AssertionError where it fails."""
    return capture_dvc(folder, *arguments)[0]


def capture_dvc(folder: Path, *arguments: str) -> tuple[str, str]:
    """Run `dvc` in the copy; returns its standard output and standard error. Raises AssertionError where it fails."""
    done = subprocess.run(
        ["dvc", *arguments], cwd=folder, env=make_environment(folder), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"dvc {' '.join(arguments)}:\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    return done.stdout, done.stderr
