"""Saved views of MLflow's UI."""

import base64
import json
import zlib

import pytest

from pipeline import tracking
from pipeline.tracking.views import TAG, View, save_view

VIEW = View(
    "icnet-toys", "Scores on toys", "toys/max_f", ["toys/max_f", "toys/mae"], ["train.lr"], ["toys/max_f"], ["p"]
)


@pytest.fixture(autouse=True)
def local(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def read_tags():
    server = tracking.find_server()
    return tracking.get_client(server).get_experiment(tracking.find_experiment(server)).tags


def test_a_view_has_the_columns_order_and_charts_that_were_asked_for():
    save_view(VIEW)
    envelope = json.loads(read_tags()[f"{TAG}icnet-toys"])
    assert envelope["name"] == "Scores on toys"
    state = json.loads(zlib.decompress(base64.b64decode(envelope["state"].removeprefix("deflate;"))))
    assert state["selectedColumns"] == ["metrics.`toys/max_f`", "metrics.`toys/mae`", "params.`train.lr`"]
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`toys/max_f`", False)
    charts = [(chart["type"], chart.get("metricKey"), chart.get("imageKeys")) for chart in state["compareRunCharts"]]
    assert charts == [("BAR", "toys/max_f", None), ("IMAGE", None, ["p"])]


def test_a_link_opens_the_view_in_the_mode_for_training():
    save_view(VIEW)
    link = tracking.link_runs(VIEW.key)
    number = tracking.find_experiment(tracking.find_server())
    page = f"/#/experiments/{number}/runs?workflowType=machine_learning&viewStateShareKey=icnet-toys"
    assert link == f"http://127.0.0.1:5000{page}"


def test_a_view_that_people_changed_is_kept():
    save_view(VIEW)
    server = tracking.find_server()
    tracking.get_client(server).set_experiment_tag(tracking.find_experiment(server), f"{TAG}icnet-toys", "changed")
    save_view(VIEW)
    assert read_tags()[f"{TAG}icnet-toys"] == "changed"
