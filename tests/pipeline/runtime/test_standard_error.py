"""What reaches the standard error of a stage."""

import subprocess
import sys

NOISE = "[2026-01-01 E 1 1] core_worker.cc:1: Actor with class name: 'A' has constructor arguments in the object store."

CODE = f"""
import os, sys
from pipeline.runtime.standard_error import drop_unimportant_lines
print("before", file=sys.stderr)
with drop_unimportant_lines():
    os.write(2, {NOISE.encode() + b" And more."!r} + b"\\n" + b"a real error\\n")
    print("from Python", file=sys.stderr)
    child = os.fork()
    if not child:
        os.write(2, b"last words")
        os._exit(0)
    os.waitpid(child, 0)
os.write(2, b"\\nafter\\n")
"""


def test_only_the_known_lines_of_ray_are_dropped(root):
    done = subprocess.run([sys.executable, "-c", CODE], cwd=root, capture_output=True, text=True, check=True)
    assert sorted(done.stderr.split("\n")) == sorted(
        ["before", "a real error", "from Python", "last words", "after", ""]
    )


def test_python_keeps_its_terminal():
    """A bar that asks whether it writes to a terminal gets the same answer."""
    code = (
        "import pty, os, sys\n"
        "pid, terminal = pty.fork()\n"
        "if not pid:\n"
        "    from pipeline.runtime.standard_error import drop_unimportant_lines\n"
        "    with drop_unimportant_lines():\n"
        "        os._exit(0 if sys.stderr.isatty() else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
