"""The writer of a table is killed at any moment."""

import os
import random
import signal
import subprocess
import sys
import time

from pipeline import tables
from tests.helpers.photographs import files
from tests.helpers.rows import make_table, rows_of

WRITE = """
import sys
from pathlib import Path
from tests.helpers.rows import make_table, rows_of
make_table(Path(sys.argv[1]), rows_of([2] * 400))
"""


def test_a_writer_killed_again_and_again_leaves_a_table_of_the_same_bytes(root, tmp_path):
    make_table(tmp_path / "whole", rows_of([2] * 400))
    draw, folder, killed = random.Random(7), tmp_path / "killed", 0
    for _ in range(6):
        writer = subprocess.Popen([sys.executable, "-c", WRITE, str(folder)], cwd=root)
        wanted = len(list(folder.glob("shard-*"))) + draw.randrange(1, 80)
        while writer.poll() is None and len(list(folder.glob("shard-*"))) < min(wanted, 390):
            time.sleep(0.002)
        if writer.poll() is None:
            os.kill(writer.pid, signal.SIGKILL)
            killed += 1
        writer.wait()
    assert killed >= 3
    _, made = make_table(folder, rows_of([2] * 400))
    assert len(made) < 400
    assert files(folder) == files(tmp_path / "whole")
    assert tables.read_table(folder).equals(rows_of([2] * 400))
