"""Tables of the paper for a pipeline of one stage, with real Git and DVC, and without a network to train."""

import pandas as pd
import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.papertables.checkout import WORK_FOLDER, ExperimentError, format_value
from pipeline.papertables.run import make_key, make_table
from pipeline.runtime import params
from tests.helpers import repository as scripted


@pytest.fixture
def repository(tmp_path, monkeypatch):
    folder = scripted.create(tmp_path)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COUNT", str(tmp_path / "count.txt"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


def test_a_table_leaves_the_workspace_alone_and_experiments_in_the_repository(repository):
    (repository / "params.yaml").write_text(scripted.PARAMS.replace("epochs: 3", "epochs: 4"))
    before = scripted.read_state(repository)
    result = CliRunner().invoke(
        app, ["table", "3", "--sism", "gc", "--sism", "ones", "-S", "train.batch_size=7"], catch_exceptions=False
    )
    assert scripted.read_state(repository) == before
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "GC, ICNet 0.500 0.070 0.250 0.854 0.852 0.064" in lines
    assert "ones alone 0.125 0.070 0.250 - - -" in lines
    assert "EGNet alone - - - 0.753 0.805 0.103" in lines
    frame = pd.read_csv(repository / "results" / "tables" / "table-3.csv").set_index("line")
    assert frame.loc["ones, ICNet", ["experiment", "max_f"]].tolist() == ["table-3-2", 0.5]
    assert (repository / "results" / "tables" / "table-3.md").read_text().startswith("# Table 3. ")
    assert {"table-3-1", "table-3-2"} <= scripted.list_experiments(repository)
    kept = scripted.run(repository, "git", "for-each-ref", "--format=%(refname)", "refs/exps/*/*/table-3-2")
    changed = scripted.run(repository, "git", "show", f"{kept}:params.yaml")
    for text in ("method: ones", "batch_size: 7", "epochs: 4", "# the reader's comment"):
        assert text in changed


def test_a_second_table_runs_nothing_and_tables_share_experiments_of_the_same_params(repository):
    first = make_table(1).text()
    assert scripted.list_runs(repository) == ["table-1"]
    assert make_table(1).text() == first
    assert make_table(3, sods=["gc"]).frame()["experiment"].dropna().unique() == ["table-1"]
    assert scripted.list_runs(repository) == ["table-1"]
    make_table(1, ["train.lr=1e-5"])
    assert scripted.list_runs(repository) == ["table-1", "table-1"]
    (repository.parent / "outside" / "toys" / "one.txt").write_text("other")
    make_table(1)
    assert len(list((repository / WORK_FOLDER / "done").glob("*.json"))) == 3


def test_the_table_of_later_methods_takes_the_scores_of_the_field_from_the_experiment_of_table_1(repository):
    make_table(1)
    rows = make_table(5).frame().set_index("line")
    assert rows.loc["ICNet, ours", "mae"] == 0.0625 and rows.loc["ICNet, ours", "experiment"] == "table-1"


def test_a_change_of_code_changes_the_key_and_bytecode_does_not(repository):
    content = params.read_params(repository / "params.yaml")
    before = make_key(repository, content)
    (repository / "pipeline" / "__pycache__").mkdir()
    (repository / "pipeline" / "__pycache__" / "code.cpython-311.pyc").write_bytes(b"bytecode")
    assert make_key(repository, content) == before
    assert make_key(repository, {**content, "register": {"seed": 1}}) == before
    assert make_key(repository, {**content, "train": {"seed": 1}}) != before
    (repository / "pipeline" / "code.py").write_text("value = 1")
    assert make_key(repository, content) != before


def test_a_stage_that_fails_is_reported_and_earlier_rows_are_kept(repository):
    (repository / "score.py").write_text(scripted.SCORE + "\nassert params['sism']['method'] != 'ones'\n")
    with pytest.raises(ExperimentError, match="table-3-2 failed"):
        make_table(3)
    assert len(list((repository / WORK_FOLDER / "done").glob("*.json"))) == 1


def test_a_folder_without_git_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExperimentError, match="git checkout"):
        make_table(1)


def test_values_are_written_as_dvc_reads_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from dvc.utils.hydra import apply_overrides
    from dvc.utils.serialize import dump_yaml, load_yaml

    value = {"a": "it's {dataset}?a=b&c=d", "b": ["c", "d"], "e": None, "f": True, "g": 0.0001}
    dump_yaml("p.yaml", {"x": {}})
    apply_overrides("p.yaml", [f"++x.{key}={format_value(one)}" for key, one in value.items()])
    assert load_yaml("p.yaml")["x"] == value
