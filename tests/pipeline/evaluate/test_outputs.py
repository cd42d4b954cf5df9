"""The output folder of stage evaluate: when it is written, kept, refused, and logged."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from pipeline import tables, tracking
from pipeline.evaluate.config import EvaluateConfig
from pipeline.evaluate.inputs import OUTPUT_VERSION
from pipeline.evaluate.outputs import OutputError, is_up_to_date, read_manifest
from pipeline.evaluate.stage import evaluate_dataset
from tests.helpers import benchmark, photographs, servers

CONFIG = EvaluateConfig(resamples=50, num_panels=1)

GOLDEN = {
    **dict.fromkeys((1, 2), "aaa5c6f6bc9cabbbaf9ab898433afe30"),
    **dict.fromkeys((3, 4), "7cb68b9489b2f5aa018ddc626d85e5f4"),
}
"""A digest of the numbers in the outputs for the same inputs, by OUTPUT_VERSION."""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return benchmark.write(tmp_path_factory.mktemp("small"), {"apple": 3, "bear": 2})


def times(folder):
    return {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}


def test_outputs_change_only_with_the_output_version(small, tmp_path):
    evaluate_dataset(small, tmp_path / "out", EvaluateConfig(resamples=50, num_panels=0))
    out = tmp_path / "out"
    content = [pd.read_csv(out / f"{name}.csv").round(4).to_csv() for name in ("scores", "groups", "curves", "absent")]
    content += [pd.read_parquet(out / "images.parquet").round(4).to_csv()]
    content += [json.loads((out / f"{name}.json").read_text()) for name in ("metrics", "original", "field")]
    digest = tables.fingerprint(content)
    assert digest == GOLDEN[OUTPUT_VERSION], f"raise OUTPUT_VERSION and add to GOLDEN: {digest}"


def test_a_second_run_writes_and_logs_nothing(small, tmp_path, capsys):
    out = tmp_path / "out"
    evaluate_dataset(small, out, CONFIG)
    before = times(out)
    capsys.readouterr()
    evaluate_dataset(small, out, CONFIG.model_copy(update={"shard_size": 3}))
    assert times(out) == before
    printed = capsys.readouterr().out
    assert "are up to date" in printed and "MLflow has them already" in printed


def test_changed_inputs_parameters_or_outputs_are_scored_again(small, tmp_path):
    out, config = tmp_path / "out", EvaluateConfig(resamples=50, num_panels=0, methods={"other": "others"})
    shutil.copytree(small.root / "masks", tmp_path / "others")
    maps = benchmark.maps(tmp_path / "maps", small.root, tables.read_table(small.index).to_pylist(), 1.5)

    def change_method():
        (tmp_path / "others" / "apple" / "0000.png").unlink()
        return small, config

    def change_output():
        (out / "scores.csv").write_text("edited")
        return small, config

    changes = [
        lambda: (small, config),
        lambda: (small, config.model_copy(update={"confidence": 0.9})),
        lambda: (replace(small, maps=maps), config),
        lambda: (small, config),
        change_method,
        change_output,
    ]
    before = None
    for change in changes:
        evaluate_dataset(*(lambda inputs, settings: (inputs, out, settings))(*change()))
        now = times(out)
        assert now != before
        before = now


def test_a_foreign_file_stops_the_stage_and_nothing_is_removed(small, tmp_path):
    out = tmp_path / "out"
    evaluate_dataset(small, out, CONFIG)
    (out / ".gitignore").write_text("/panels")
    (out / "notes.txt").write_text("mine")
    before = photographs.files(out)
    with pytest.raises(OutputError, match=r"notes.txt was not written by stage evaluate"):
        evaluate_dataset(small, out, CONFIG.model_copy(update={"seed": 1}))
    assert photographs.files(out) == before
    (out / "notes.txt").unlink()
    evaluate_dataset(small, out, CONFIG.model_copy(update={"seed": 1}))
    assert (out / ".gitignore").is_file()


def test_outputs_without_a_manifest_and_unfinished_files_are_replaced(small, tmp_path):
    out = tmp_path / "out"
    evaluate_dataset(small, out, CONFIG)
    (out / "manifest.json").unlink()
    leftover = out / "panels" / f".{'0' * 32}.part"
    leftover.write_text("half")
    (out / "panels" / "worst-9.png").write_bytes(b"")
    evaluate_dataset(small, out, CONFIG)
    assert not leftover.exists() and not (out / "panels" / "worst-9.png").exists()
    assert is_up_to_date(out, read_manifest(out)["key"])


def test_scores_are_written_although_mlflow_is_away_and_logged_later(small, tmp_path, monkeypatch, server):
    out = tmp_path / "out"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")  # the password is moved there
    with servers.run_silent_server() as port:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{port}")
        with pytest.raises(tracking.TrackingError, match=r"the scores are in .*out, run again to log them") as failed:
            evaluate_dataset(small, out, CONFIG)
    assert "secret" not in str(failed.value) and "\n" not in str(failed.value)
    before = times(out)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    inputs = replace(small, model=benchmark.model(tmp_path / "model", run_id="b" * 32))
    evaluate_dataset(inputs, out, CONFIG)
    assert times(out) == before
    found = tracking.get_client(server).get_run(tracking.reopen_run("b" * 32).id)
    assert "small/max_f" in found.data.metrics


def test_the_stage_ends_with_one_sentence_if_mlflow_refuses(small, tmp_path):
    shutil.copytree(small.index, tmp_path / "small")
    (tmp_path / "params.yaml").write_text("evaluate: {resamples: 10, num_panels: 0}\n")
    folders = [tmp_path / "small", small.samples, small.maps, small.model, tmp_path / "out"]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{servers.find_port()}"}
    environment |= {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-m", "pipeline.evaluate", *map(str, folders)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and "run again to log them" in done.stderr
    assert (tmp_path / "out" / "metrics.json").is_file()


def test_a_table_without_images_with_masks_is_complete(tmp_path):
    inputs = benchmark.write(tmp_path / "plain", {"apple": 2}, labelled=False)
    evaluate_dataset(inputs, tmp_path / "out", CONFIG)
    table = pa.parquet.read_table(tmp_path / "out" / "images.parquet")
    assert len(table) == 0 and "max_f" in table.column_names


def test_spreadsheets_do_not_run_names_as_formulas(tmp_path):
    evaluate_dataset(benchmark.write(tmp_path, {"=1+1": 2, "apple": 2}), tmp_path / "out", CONFIG)
    groups = pd.read_csv(tmp_path / "out" / "groups.csv")
    assert sorted(set(groups["group"])) == ["'=1+1", "apple"]
