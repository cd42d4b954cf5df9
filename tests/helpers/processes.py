"""Stages in processes of their own, to be killed."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def start_python(code: str) -> subprocess.Popen:
    """Run code from the repository's root, in a session of its own and on a local Ray."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment, start_new_session=True)
