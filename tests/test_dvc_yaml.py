"""Names and roots with characters that mean something to a shell."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.helpers import photographs
from tests.helpers.checkout import clone, run_dvc

NAMES = ["a b", "a;touch hacked", "$(touch hacked)", "`touch hacked`", 'a"b', "*", "a&b", "é"]


@pytest.mark.parametrize("name", NAMES)
def test_a_shell_does_not_act_on_a_name(tmp_path, root, name):
    """The commands run in a real shell, where `python` shows its arguments."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text('#!/bin/bash\nprintf "%s\\0" "$@"\n')
    (tmp_path / "bin" / "python").chmod(0o755)
    for stage, parts in yaml.safe_load((root / "dvc.yaml").read_text())["stages"].items():
        command = parts.get("do", parts)["cmd"]
        for variable in ("${key}", "${item}"):
            command = command.replace(variable, name)
        environment = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
        made = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, check=True)
        words = made.stdout.decode().split("\0")[:-1]
        assert words[:2] == ["-m", f"pipeline.{stage}"] and made.stderr == b""
        assert stage not in ("index", "sism", "predict", "evaluate") or any(name in word for word in words[2:])
    assert not (tmp_path / "hacked").exists()


def test_a_root_with_spaces_and_shell_characters_is_indexed(root, tmp_path):
    folder = clone(root, tmp_path / "checkout")
    photos = tmp_path / "my photos; touch hacked $(touch hacked) 'x'"
    photographs.write(photos, {"apple": 2})
    content = yaml.safe_load((folder / "params.yaml").read_text())
    content["datasets"] = {"mine": {"root": str(photos)}}
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    assert "2 images in 1 group" in run_dvc(folder, "repro", "index@mine")
    assert not list(Path(tmp_path).rglob("hacked"))
