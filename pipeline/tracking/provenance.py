"""Where a run came from: Git commit, DVC experiment, dvc.lock."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path


def describe_origin() -> dict[str, str]:
    """Tags for the Git commit, the DVC experiment and the dvc.lock that this process runs with."""
    tags = {"mlflow.source.name": os.environ.get("DVC_STAGE") or Path(sys.argv[0]).stem, "mlflow.source.type": "LOCAL"}
    commit = _run_git("rev-parse", "HEAD")
    if commit:
        tags |= {"mlflow.source.git.commit": commit, "git.dirty": str(bool(_run_git("status", "--porcelain"))).lower()}
    names = [name for name in ("DVC_EXP_NAME", "DVC_EXP_BASELINE_REV") if os.environ.get(name)]
    tags |= {name.lower().replace("_", ".", 1): os.environ[name] for name in names}
    lock = Path("dvc.lock")
    if lock.is_file():
        tags["dvc.lock.md5"] = hashlib.md5(lock.read_bytes(), usedforsecurity=False).hexdigest()
    return tags


def _run_git(*arguments: str) -> str:
    if shutil.which("git") is None:
        return ""
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False).stdout.strip()
