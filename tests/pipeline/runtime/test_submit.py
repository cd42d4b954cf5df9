import os
import shlex
import subprocess

import pytest

from pipeline.runtime.submit import SubmitError, make_entrypoint

HOSTILE = ["a b", "a;touch hacked", "a'b", 'a"b', "$(touch hacked)", "`touch hacked`", "a\nb", "-n", "*", "é"]


@pytest.fixture
def fake_dvc(tmp_path):
    """A `dvc` that shows its folder, its arguments and the tracking URI."""
    (tmp_path / "bin").mkdir()
    file = tmp_path / "bin" / "dvc"
    file.write_text('#!/bin/bash\nprintf "%s\\0" "$PWD" "$MLFLOW_TRACKING_URI" "$@"\n')
    file.chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}


@pytest.mark.parametrize("name", HOSTILE)
def test_folder_arguments_and_variables_reach_dvc_as_they_are(tmp_path, fake_dvc, name):
    folder = tmp_path / "shared" / name
    folder.mkdir(parents=True)
    entrypoint = make_entrypoint(
        {"SHARED": str(folder), "ARGS": shlex.join([name, "x@y"]), "MLFLOW_TRACKING_URI": f"http://host/{name}"}
    )
    made = subprocess.run(entrypoint, shell=True, cwd=tmp_path, env=fake_dvc, capture_output=True, check=True)
    expected = [str(folder), f"http://host/{name}", "repro", name, "x@y"]
    assert made.stdout.decode().split("\0")[:-1] == expected
    assert not list(tmp_path.rglob("hacked"))


def test_a_password_in_a_forwarded_variable_is_refused_and_not_shown():
    with pytest.raises(SubmitError, match="MLFLOW_TRACKING_USERNAME") as error:
        make_entrypoint({"SHARED": "/x", "MLFLOW_TRACKING_URI": "https://anna:pa55@host"})
    assert "pa55" not in str(error.value) and "anna" not in str(error.value)


def test_secrets_of_the_environment_are_not_in_the_entrypoint():
    environment = {"SHARED": "/x", "AWS_SECRET_ACCESS_KEY": "s3cret", "MLFLOW_TRACKING_PASSWORD": "s3cret"}
    assert "s3cret" not in make_entrypoint(environment)


def test_arguments_that_are_no_shell_words_are_one_sentence():
    with pytest.raises(SubmitError, match=r"ARGS='a: No closing quotation"):
        make_entrypoint({"SHARED": "/x", "ARGS": "'a"})


def test_make_submit_does_not_give_its_variables_to_a_shell(root, tmp_path):
    """`make` prints what it would run: one command without them."""
    made = subprocess.run(
        ["make", "--dry-run", "submit", "SHARED=/a b;touch hacked", "ARGS=x; touch hacked"],
        cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "python -m pipeline.runtime.submit" in made.stdout and "hacked" not in made.stdout
