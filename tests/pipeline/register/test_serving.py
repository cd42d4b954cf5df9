"""The registered model: loaded in Python, in a clean interpreter, and served over HTTP."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from PIL import Image

from icnet import checkpoint, images, sod
from icnet.inference import Predictor, optimize
from pipeline.register import serving
from pipeline.register.package import use_fluent_api
from pipeline.register.registry import Registry
from pipeline.register.requirements import list_requirements
from tests.helpers import models, photographs, servers
from tests.helpers.models import FAIR


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
    models.train_and_register(Registry("icnet-served", server), folder, 9, FAIR)
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


def make_blank(side):
    """A PNG file of a few kilobytes with many pixels."""
    file = BytesIO()
    Image.new("1", (side, side)).save(file, "PNG")
    return file.getvalue()


TOO_MUCH = {
    "may have 50,000,000 pixels, this one has 169,000,000": lambda: [make_blank(13_000)],
    "may hold 200,000,000 pixels, this one holds 432,000,000": lambda: [make_blank(6_000)] * 12,
    "may hold 100 images, this one holds 700": lambda: [make_blank(8)] * 700,
    "may have 33,554,432 bytes, this one has 33,554,433": lambda: [bytes((32 << 20) + 1)],
}
"""Requests above the limits, by the reason."""


@pytest.mark.parametrize("reason", TOO_MUCH)
def test_a_served_model_refuses_what_is_too_much_before_it_decodes(loaded, monkeypatch, reason):
    monkeypatch.setenv(serving.SERVED, "model")
    with pytest.raises(MlflowException, match=reason):
        loaded.predict(cells(TOO_MUCH[reason]()))


def test_the_limits_do_not_apply_in_python(served, loaded):
    _, files = served
    assert len(loaded.predict(cells([str(files[0])] * (serving.MAX_IMAGES + 1)))) == serving.MAX_IMAGES + 1


@pytest.mark.slow
def test_the_served_model_answers_over_http(served, loaded, clean, tmp_path):
    uri, files = served
    port = servers.find_port()
    command = [str(clean), "-m", "mlflow", "models", "serve", "-m", uri, "-p", str(port), "--env-manager", "local"]
    path = f"{clean.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    server = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": "", "PATH": path})
    try:
        address = f"http://127.0.0.1:{port}"
        servers.wait_for(f"{address}/ping", server)
        photographs = [file.read_bytes() for file in files[:3]]
        expected = loaded.predict(cells(files[:3]))["map"].tolist()
        assert send(address, photographs) == expected
        check_refusal(address, [b"no"], "image 0")
        for reason, make in TOO_MUCH.items():
            check_refusal(address, make(), reason)
        with pytest.raises(urllib.error.HTTPError):
            post(f"{address}/invocations", f"image\n{files[0]}\n", "text/csv")
        assert send(address, photographs) == expected
    finally:
        server.terminate()
        server.wait()


def check_refusal(address, content, reason):
    with pytest.raises(urllib.error.HTTPError) as refused:
        send(address, content)
    assert refused.value.code == 400 and reason in refused.value.read().decode()


def send(address, photographs):
    rows = [{"image": b64encode(content).decode(), "group": "one"} for content in photographs]
    answer = post(f"{address}/invocations", {"dataframe_records": rows})
    return [b64decode(row["map"]) for row in answer["predictions"]]


def post(address, content, kind="application/json"):
    data = content if isinstance(content, str) else json.dumps(content)
    request = urllib.request.Request(address, data.encode(), {"Content-Type": kind})
    return json.loads(urllib.request.urlopen(request).read())
