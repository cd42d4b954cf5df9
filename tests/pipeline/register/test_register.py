"""Stage register: versions, aliases, and when it does nothing."""

import json
import subprocess
import sys
from itertools import count

import pytest

from pipeline import tables, tracking
from pipeline.cli.app import rollback_command
from pipeline.register.config import RegisterConfig
from pipeline.register.receipt import ReceiptError
from pipeline.register.registry import Registry, RegistryError, roll_back
from pipeline.register.stage import choose_sod, register_model
from tests.helpers import models, servers
from tests.helpers.models import FAIR, GOOD, POOR


def test_the_champion_changes_only_for_a_better_model(registry, place):
    first = models.train_and_register(registry, place, 1, FAIR)
    assert (first["version"], first["alias"]) == (1, "champion") and "first" in first["reason"]
    equal = models.train_and_register(registry, place, 2, FAIR)
    assert (equal["version"], equal["alias"]) == (2, "challenger")
    assert registry.get_aliases() == {"champion": "1", "challenger": "2"}
    better = models.train_and_register(registry, place, 3, GOOD)
    assert (better["version"], better["alias"]) == (3, "champion")
    worse = models.train_and_register(registry, place, 4, POOR)
    assert (worse["version"], worse["alias"]) == (4, "challenger")
    assert registry.get_aliases() == {"champion": "3", "challenger": "4", "previous": "1"}
    version = registry.get_version("4")
    assert version.tags["gate_reason"] == worse["reason"] and worse["reason"] in version.description
    assert "| small | 24 | 8 | 0." in version.description and 'load_model("models:/' in version.description
    assert "width 0.125" in version.description
    assert [registry.get_version(n).tags["gate"] for n in "1234"] == ["passed", "not passed", "passed", "not passed"]

    left, taken = roll_back(registry)
    assert (left, taken) == ("3", "1") and registry.get_aliases()["champion"] == "1"
    kept = models.register(registry, place / "model3", place / "results3")
    assert (kept["version"], kept["alias"]) == (3, "challenger") and "manually" in kept["reason"]
    rollback_command("4", registry.name)
    assert registry.get_aliases()["champion"] == "4"


def test_a_promotion_that_was_interrupted_is_completed(registry, place, monkeypatch):
    models.train_and_register(registry, place, 1, FAIR)
    models.train_and_register(registry, place, 2, FAIR)
    set_alias, calls = Registry.set_alias, count()

    def fail_at_the_second(self, alias, number):
        if next(calls):
            raise KeyboardInterrupt
        set_alias(self, alias, number)

    monkeypatch.setattr(Registry, "set_alias", fail_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        registry.promote("2")
    monkeypatch.setattr(Registry, "set_alias", set_alias)
    registry.promote("2")
    assert registry.get_aliases() == {"champion": "2", "previous": "1"}


def test_there_is_nothing_to_roll_back_to_at_first(registry, place):
    models.train_and_register(registry, place, 1, FAIR)
    with pytest.raises(RegistryError, match="no previous champion"):
        roll_back(registry)
    with pytest.raises(RegistryError, match="already the champion"):
        roll_back(registry, "1")
    with pytest.raises(RegistryError, match="no version 7"):
        roll_back(registry, "7")


def test_a_model_registered_twice_has_one_version(registry, place):
    model, scored = models.train(place, 1, FAIR)
    first = models.register(registry, model, scored)
    assert models.register(registry, model, scored) == first
    assert len(registry.client.search_model_versions(f"name = '{registry.name}'")) == 1


def test_a_version_carries_its_tags_metrics_and_run(registry, place):
    found = models.train_and_register(registry, place, 1, FAIR)
    version = registry.get_version("1")
    assert version.run_id == found["run_id"]
    assert {"licence", "data", "data_licence", "sod", "identity"} <= set(version.tags)
    logged = registry.client.get_logged_model(version.source.removeprefix("models:/"))
    value = models.scores(FAIR).overall()["max_f"]
    assert {one.key: one.value for one in logged.metrics}["small/original/max_f"] == pytest.approx(value)
    assert logged.params == {"train.seed": "1"} and logged.source_run_id == found["run_id"]
    assert [int(one["version"]) for one in json.loads(logged.tags["mlflow.modelVersions"])] == [1]
    run = registry.client.get_run(found["run_id"])
    assert run.info.status == "FINISHED" and [one.model_id for one in run.outputs.model_outputs] == [logged.model_id]


@pytest.mark.slow
def test_two_registrations_at_once_are_both_kept(registry, place):
    code = (
        "import json, sys; from pathlib import Path; from pipeline.register.config import RegisterConfig\n"
        "from pipeline.register.stage import register_model\n"
        "model, scored, name = sys.argv[1:]; model = Path(model)\n"
        "config = RegisterConfig(name=name, resamples=300)\n"
        "register_model(model, Path(scored), model / 'registered.json', ['small'], 'gc', config)"
    )
    made = [models.train(place, 1, GOOD), models.train(place, 2, POOR)]
    started = [subprocess.Popen([sys.executable, "-c", code, *map(str, pair), registry.name]) for pair in made]
    assert [process.wait() for process in started] == [0, 0]
    said = [json.loads((model / "registered.json").read_text()) for model, _ in made]
    assert {one["version"] for one in said} == {1, 2}
    assert registry.get_aliases()["champion"] == str(said[0]["version"])


def test_a_benchmark_that_was_not_evaluated_is_named(registry, place):
    model, scored = models.train(place, 1, FAIR)
    with pytest.raises(tables.TableError, match="other was not evaluated"):
        register_model(model, scored, place / "out.json", ["small", "other"], "gc", RegisterConfig())


def test_a_model_trained_on_maps_from_a_folder_gets_a_sod_method():
    assert choose_sod(RegisterConfig(), "maps:folder") == "gc"
    assert choose_sod(RegisterConfig(), "onnx:net.onnx") == "onnx:net.onnx"
    assert choose_sod(RegisterConfig(sod="ones"), "gc") == "ones"


def test_a_finished_registration_is_not_repeated(registry, place, monkeypatch):
    model, results = models.train(place, 1, FAIR)
    models.register(registry, model, results)
    output = model / "registered.json"
    before = output.stat().st_mtime_ns
    monkeypatch.setattr("pipeline.register.stage.add_version", None)  # a call would fail
    models.register(registry, model, results)
    assert output.stat().st_mtime_ns == before


@pytest.mark.parametrize("change", ["alias", "scores", "output"])
def test_a_registration_is_repeated_after_a_change(registry, place, change):
    model, results = models.train(place, 1, FAIR)
    models.register(registry, model, results)
    other = models.train_and_register(registry, place, 2, GOOD)
    assert other["alias"] == "champion"
    output = model / "registered.json"
    if change == "scores":
        better = models.train(place, 3, GOOD)[1] / "small" / "groups.parquet"
        (results / "small" / "groups.parquet").write_bytes(better.read_bytes())
    if change == "output":
        output.unlink()
    again = models.register(registry, model, results)
    assert (again["version"], again["alias"], again["champion"]) == (1, "challenger", 2)
    assert registry.get_aliases() == {"champion": "2", "challenger": "1", "previous": "1"}


def test_an_output_of_an_older_release_is_replaced_and_a_foreign_file_is_not(registry, place):
    model, results = models.train(place, 1, FAIR)
    older = {"name": registry.name, "version": 9, "alias": "champion", "reason": "", "run_id": ""}
    (model / "registered.json").write_text(json.dumps(older))
    assert models.register(registry, model, results)["version"] == 1
    (model / "registered.json").write_text('{"mine": 1}')
    with pytest.raises(ReceiptError, match="was not written by stage register"):
        models.register(registry, model, results)
    assert (model / "registered.json").read_text() == '{"mine": 1}'


@pytest.mark.slow
def test_a_failing_artifact_store_stops_the_stage_and_decides_nothing(place, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    failing = set()
    with servers.run_mlflow(tmp_path / "server") as target, servers.run_failing_proxy(target, failing) as port:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        registry = Registry("icnet-proxy", f"http://127.0.0.1:{port}")
        models.train_and_register(registry, place, 1, POOR)
        model, results = models.train(place, 2, GOOD)
        failing.add("mlflow-artifacts/artifacts?path=")  # listings
        failing.add("/small/groups.parquet")
        with pytest.raises(tracking.TrackingError, match="run the stage again"):
            models.register(registry, model, results)
        assert not (model / "registered.json").exists() and registry.get_aliases() == {"champion": "1"}
        failing.clear()
        assert models.register(registry, model, results)["alias"] == "champion"
        assert registry.get_aliases() == {"champion": "2", "previous": "1"}


def test_the_summary_shows_no_password(place, monkeypatch, tmp_path, capfd):
    with servers.run_mlflow(tmp_path / "server") as port:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:hidden@127.0.0.1:{port}")
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")
        models.train_and_register(Registry("icnet", tracking.find_server()), place, 1, FAIR)
    printed = "".join(capfd.readouterr())
    assert f"from http://127.0.0.1:{port}" in printed and "View run" in printed and "hidden" not in printed
