import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64decode, b64encode
from functools import cache
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from icnet import checkpoint, images, sod
from icnet.inference import Predictor, optimize
from pipeline import tables, tracking
from pipeline.cli.app import rollback_command
from pipeline.metrics import aggregate, score
from pipeline.metrics.sums import write_sums
from pipeline.register.config import RegisterConfig
from pipeline.register.gate import Criterion, judge_challenger
from pipeline.register.package import use_fluent_api
from pipeline.register.registry import Registry, RegistryError, roll_back
from pipeline.register.requirements import list_requirements
from pipeline.register.stage import choose_sod, register_model
from tests.helpers import benchmark, photographs

GROUPS, EACH = 8, 3
GOOD, FAIR, POOR = 0.4, 0.7, 1.1
"""How much the maps of a model err."""


@cache
def sums(noise, seed=0):
    """The scores of maps that err so much, on the same images each time."""
    scored = []
    for n in range(GROUPS * EACH):
        _, mask = photographs.photograph(n, 32, 40)
        scored.append(((f"g{n % GROUPS}", str(n)), score.score_map(benchmark.blurred(mask, seed + n, noise), mask)))
    return aggregate.Scores.of(scored)


def board(noise, seed=0, edition="first"):
    return {"small": (sums(noise, seed), edition)}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def place(server, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def shelf(place, request, server):
    """A registered model of the test's own."""
    return Registry(f"icnet-{abs(hash(request.node.name))}", server)


def trained(folder, weights, noise, edition="first"):
    """A model folder and a results folder as stages train and evaluate leave them, and a run that knows both."""
    with tracking.start_run(f"model {weights}", {"train": {"seed": weights}}) as run:
        model = benchmark.model(folder / f"model{weights}", weights, run.id)
        (scored := folder / f"results{weights}" / "small").mkdir(parents=True)
        both = {("icnet", size): sums(noise) for size in ("resized", "original")}
        write_sums(scored / "groups.parquet", both, "small", edition)
        run.log_file(scored / "groups.parquet", "small")
    return model, scored.parent


def registered(shelf, folder, weights, noise, **others):
    model, scored = trained(folder, weights, noise, **others)
    return again(shelf, model, scored)


def again(shelf, model, scored):
    config = RegisterConfig(name=shelf.name, resamples=300)
    register_model(model, scored, model / "registered.json", ["small"], "gc", config)
    return json.loads((model / "registered.json").read_text())


def test_equal_models_do_not_pass_the_gate():
    verdict = judge_challenger(board(FAIR), board(FAIR), Criterion(resamples=200), "version 1")
    assert not verdict.better and " 0.0% of 200 resamples of 8 groups" in verdict.reason


@pytest.mark.parametrize("metric", ["max_f", "s", "mae", "iou"])
def test_a_clearly_better_model_passes_and_a_worse_one_does_not(metric):
    criterion = Criterion(resamples=200, metric=metric)
    assert judge_challenger(board(GOOD), board(POOR), criterion, "version 1").better
    assert not judge_challenger(board(POOR), board(GOOD), criterion, "version 1").better


def test_noise_does_not_pass_the_gate():
    wins = [judge_challenger(board(FAIR, 50 * n), board(FAIR, 999), Criterion(resamples=200), "it") for n in range(12)]
    assert sum(verdict.better for verdict in wins) <= 2


def test_a_margin_must_be_passed_too():
    assert not judge_challenger(board(GOOD), board(POOR), Criterion(resamples=200, margin=0.9), "version 1").better


def test_other_images_or_no_scores_cannot_be_compared():
    criterion = Criterion(resamples=100)
    assert "other images" in judge_challenger(board(GOOD), board(POOR, edition="second"), criterion, "it").reason
    assert "was not scored on small" in judge_challenger(board(GOOD), {}, criterion, "it").reason
    assert "nothing to compare" in judge_challenger({}, board(POOR), criterion, "it").reason


def test_benchmarks_count_alike():
    ours, theirs = board(GOOD) | {"other": board(POOR)["small"]}, board(POOR) | {"other": board(GOOD)["small"]}
    verdict = judge_challenger(ours, theirs, Criterion(resamples=200), "version 1")
    assert not verdict.better and "small, other" in verdict.reason


def test_the_champion_changes_only_for_a_better_model(shelf, place):
    first = registered(shelf, place, 1, FAIR)
    assert (first["version"], first["alias"]) == (1, "champion") and "first" in first["reason"]
    equal = registered(shelf, place, 2, FAIR)
    assert (equal["version"], equal["alias"]) == (2, "challenger")
    assert shelf.get_aliases() == {"champion": "1", "challenger": "2"}
    better = registered(shelf, place, 3, GOOD)
    assert (better["version"], better["alias"]) == (3, "champion")
    worse = registered(shelf, place, 4, POOR)
    assert (worse["version"], worse["alias"]) == (4, "challenger")
    assert shelf.get_aliases() == {"champion": "3", "challenger": "4", "previous": "1"}
    version = shelf.get_version("4")
    assert version.tags["gate_reason"] == worse["reason"] and worse["reason"] in version.description
    assert [shelf.get_version(n).tags["gate"] for n in "1234"] == ["passed", "not passed", "passed", "not passed"]

    left, taken = roll_back(shelf)
    assert (left, taken) == ("3", "1") and shelf.get_aliases()["champion"] == "1"
    kept = again(shelf, place / "model3", place / "results3")
    assert (kept["version"], kept["alias"]) == (3, "challenger") and "manually" in kept["reason"]
    rollback_command("4", shelf.name)
    assert shelf.get_aliases()["champion"] == "4"


def test_there_is_nothing_to_roll_back_to_at_first(shelf, place):
    registered(shelf, place, 1, FAIR)
    with pytest.raises(RegistryError, match="no previous champion"):
        roll_back(shelf)
    with pytest.raises(RegistryError, match="already the champion"):
        roll_back(shelf, "1")
    with pytest.raises(RegistryError, match="no version 7"):
        roll_back(shelf, "7")


def test_a_model_registered_twice_has_one_version(shelf, place):
    model, scored = trained(place, 1, FAIR)
    first = again(shelf, model, scored)
    assert again(shelf, model, scored) == first
    assert len(shelf.client.search_model_versions(f"name = '{shelf.name}'")) == 1


def test_a_version_carries_its_tags_metrics_and_run(shelf, place):
    found = registered(shelf, place, 1, FAIR)
    version = shelf.get_version("1")
    assert version.run_id == found["run_id"]
    assert {"licence", "data", "data_licence", "sod", "identity"} <= set(version.tags)
    logged = shelf.client.get_logged_model(version.source.removeprefix("models:/"))
    value = sums(FAIR).overall()["max_f"]
    assert {one.key: one.value for one in logged.metrics}["small/original/max_f"] == pytest.approx(value)
    assert logged.params == {"train.seed": "1"} and logged.source_run_id == found["run_id"]
    assert [int(one["version"]) for one in json.loads(logged.tags["mlflow.modelVersions"])] == [1]
    run = shelf.client.get_run(found["run_id"])
    assert run.info.status == "FINISHED" and [one.model_id for one in run.outputs.model_outputs] == [logged.model_id]


def test_two_registrations_at_once_are_both_kept(shelf, place):
    code = (
        "import json, sys; from pathlib import Path; from pipeline.register.config import RegisterConfig\n"
        "from pipeline.register.stage import register_model\n"
        "model, scored, name = sys.argv[1:]; model = Path(model)\n"
        "config = RegisterConfig(name=name, resamples=300)\n"
        "register_model(model, Path(scored), model / 'registered.json', ['small'], 'gc', config)"
    )
    made = [trained(place, 1, GOOD), trained(place, 2, POOR)]
    started = [subprocess.Popen([sys.executable, "-c", code, *map(str, pair), shelf.name]) for pair in made]
    assert [process.wait() for process in started] == [0, 0]
    said = [json.loads((model / "registered.json").read_text()) for model, _ in made]
    assert {one["version"] for one in said} == {1, 2}
    assert shelf.get_aliases()["champion"] == str(said[0]["version"])


def test_a_benchmark_that_was_not_evaluated_is_named(shelf, place):
    model, scored = trained(place, 1, FAIR)
    with pytest.raises(tables.TableError, match="other was not evaluated"):
        register_model(model, scored, place / "out.json", ["small", "other"], "gc", RegisterConfig())


def test_maps_made_elsewhere_leave_the_model_with_a_method_of_its_own():
    assert choose_sod(RegisterConfig(), "maps:folder") == "gc"
    assert choose_sod(RegisterConfig(), "onnx:net.onnx") == "onnx:net.onnx"
    assert choose_sod(RegisterConfig(sod="ones"), "gc") == "ones"


def test_requirements_are_pinned_and_only_what_is_imported():
    named = {line.partition("==")[0]: line.partition("==")[2] for line in list_requirements("gc")}
    assert {"torch", "torchvision", "safetensors", "numpy", "pandas", "pillow", "mlflow"} <= set(named)
    assert all(named.values()) and "+" not in "".join(named.values())
    assert not {"ray", "dvc", "onnxruntime", "icnet"} & set(named)
    assert any(line.startswith("onnxruntime==") for line in list_requirements("onnx"))


@pytest.fixture(scope="module")
def served(server, tmp_path_factory):
    """A registered model, photographs of two groups, and where the model lies."""
    folder = tmp_path_factory.mktemp("served")
    os.environ["MLFLOW_TRACKING_URI"] = server
    shelf = Registry("icnet-served", server)
    registered(shelf, folder, 9, FAIR)
    root = photographs.write(folder / "root", {"apple": 3, "bear": 2}, 60, 90)
    with use_fluent_api(server):
        yield "models:/icnet-served@champion", sorted(root.glob("images/*/*.png"))
    del os.environ["MLFLOW_TRACKING_URI"]


@pytest.fixture(scope="module")
def loaded(served):
    return mlflow.pyfunc.load_model(served[0])


def cells(values):
    return pd.DataFrame({"image": pd.Series(list(values), dtype=object)})


def test_the_model_takes_paths_bytes_base64_and_arrays_alike(served, loaded):
    _, files = served
    expected = loaded.predict(cells(map(str, files)))
    data = [file.read_bytes() for file in files]
    for given in (data, files, map(images.decode, data), [b64encode(one).decode() for one in data]):
        assert loaded.predict(cells(given))["map"].tolist() == expected["map"].tolist()
    arrays = loaded.predict(cells(data), params={"output": "array"})
    for array, png, one in zip(arrays["map"], expected["map"], data, strict=True):
        assert array.shape == images.decode(one).shape[:2] and array.dtype == np.uint8
        assert np.array_equal(array, images.decode_gray(png))


def test_groups_are_kept_apart_and_names_come_back(served, loaded):
    _, files = served
    table = cells(files).assign(group=[file.parent.name for file in files], name=[file.stem for file in files])
    both = loaded.predict(table)
    assert both[["group", "name"]].values.tolist() == table[["group", "name"]].values.tolist()
    alone = loaded.predict(table[table["group"] == "bear"])
    assert alone["map"].tolist() == both["map"].tolist()[3:]
    shuffled = loaded.predict(table.iloc[::-1])
    assert [images.decode_gray(png).shape for png in shuffled["map"]] == [
        (61, 90),
        (60, 90),
        (62, 90),
        (61, 90),
        (60, 90),
    ]


def test_given_sisms_take_the_place_of_its_own(served, loaded):
    _, files = served
    own = sod.make_method("gc")
    sisms = [images.encode(images.quantize(own(images.decode(file.read_bytes())))) for file in files]
    table = cells(files)
    expected = loaded.predict(table)["map"].tolist()
    assert loaded.predict(table.assign(sism=sisms))["map"].tolist() == expected
    assert loaded.predict(table.assign(sism=[*sisms[:2], None, None, None]))["map"].tolist() == expected
    black = images.encode(np.zeros((60, 90), np.uint8))
    assert loaded.predict(table.assign(sism=[black] * 5))["map"].tolist() != expected


@pytest.mark.parametrize("bad", ["nowhere.jpg", b"no picture", np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3))])
def test_what_is_no_photograph_is_refused_by_its_place(served, loaded, bad):
    with pytest.raises(mlflow.exceptions.MlflowException, match="image 1: "):
        loaded.predict(cells([served[1][0].read_bytes(), bad]))


def test_the_model_gives_the_maps_of_stage_predict(served, loaded):
    """Decoding, the SOD method and every resizing are those of stages sism and predict."""
    _, files = served
    pictures = [images.decode(file.read_bytes()) for file in files]
    weights = Path(files[0]).parents[3] / "model9" / "model.safetensors"
    network, method = optimize(checkpoint.load(weights)), sod.make_method("gc")
    side = (network.config.size,) * 2
    small = images.normalize(np.stack([images.resize(one, side) for one in pictures]))
    sisms = images.scale_maps(np.stack([images.resize(images.quantize(method(one)), side) for one in pictures]))
    maps = Predictor(network).predict(small, sisms).maps[:, 0]
    for found, map_, one in zip(loaded.predict(cells(files))["map"], maps, pictures, strict=True):
        assert np.array_equal(images.decode_gray(found), images.resize(images.quantize(map_), one.shape[:2]))


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """An interpreter that has the requirements, but neither the repository nor its packages."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    there = next(folder.glob("lib/python3*/site-packages"))
    (there / "requirements.pth").write_text(str(Path(np.__file__).parents[1]))
    return folder / "bin" / "python"


def test_the_model_loads_where_the_repository_is_not(served, loaded, clean, tmp_path):
    uri, files = served
    code = (
        "import sys, mlflow, pandas as pd\n"
        "try: import icnet; sys.exit('the repository is there')\n"
        "except ImportError: pass\n"
        "found = mlflow.pyfunc.load_model(sys.argv[1]).predict(pd.DataFrame({'image': sys.argv[2:]}))\n"
        "found.to_pickle('found.pkl')"
    )
    command = [str(clean), "-c", code, uri, *map(str, files)]
    subprocess.run(command, check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""})
    found = pd.read_pickle(tmp_path / "found.pkl")
    assert found["map"].tolist() == loaded.predict(cells(files))["map"].tolist()


@pytest.mark.slow
def test_the_served_model_answers_over_http(served, loaded, clean, tmp_path):
    uri, files = served
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [str(clean), "-m", "mlflow", "models", "serve", "-m", uri, "-p", port, "--env-manager", "local"]
    path = f"{clean.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    server = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": "", "PATH": path})
    try:
        address = f"http://127.0.0.1:{port}"
        _wait(f"{address}/ping", server)
        rows = [{"image": b64encode(file.read_bytes()).decode(), "group": "one"} for file in files[:3]]
        answer = _post(f"{address}/invocations", {"dataframe_records": rows})
        maps = [b64decode(row["map"]) for row in answer["predictions"]]
        assert maps == loaded.predict(cells(files[:3]))["map"].tolist()
        with pytest.raises(urllib.error.HTTPError) as refused:
            _post(f"{address}/invocations", {"dataframe_records": [{"image": b64encode(b"no").decode()}]})
        assert refused.value.code == 400 and "image 0" in refused.value.read().decode()
        with pytest.raises(urllib.error.HTTPError):
            _post(f"{address}/invocations", f"image\n{files[0]}\n", "text/csv")
    finally:
        server.terminate()
        server.wait()


def _wait(address, server):
    for _ in range(240):
        assert server.poll() is None
        try:
            return urllib.request.urlopen(address).read()
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the server does not answer")


def _post(address, content, kind="application/json"):
    data = content if isinstance(content, str) else json.dumps(content)
    request = urllib.request.Request(address, data.encode(), {"Content-Type": kind})
    return json.loads(urllib.request.urlopen(request).read())
