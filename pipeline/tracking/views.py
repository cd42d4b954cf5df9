"""Saved views of MLflow's UI: the columns and charts that people see of an experiment.

MLflow keeps a view in a tag of the experiment, as JSON with the state of the page. A link to the page names the view.
"""

import base64
import json
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.tracking.server import find_experiment, find_server, get_client

TAG = "mlflow.sharedViewState."
"""Start of the tag of a view; its key follows."""

LOCAL_UI = "http://127.0.0.1:5000"
"""Where `make ui` shows a local database."""

COMPARED_RUNS = 20
"""Runs that a chart shows."""


@dataclass(frozen=True)
class View:
    """A table of runs, the best first, and charts of them.

    `key`: in links, letters, digits and hyphens. `name`: in the menu `Views`. `order`: the metric that the runs are
    sorted by, the highest first. `metrics`, `params`: the columns. `charts`: metrics with a bar for each run.
    `pictures`: keys of images that are compared side by side.
    """

    key: str
    name: str
    order: str
    metrics: Sequence[str]
    params: Sequence[str] = ()
    charts: Sequence[str] = ()
    pictures: Sequence[str] = ()


def link_runs(view: str = "") -> str:
    """The address of the experiment's runs in MLflow's UI, as the view with this key shows them."""
    server = find_server()
    host = server if server.startswith("http") else LOCAL_UI
    shown = f"&viewStateShareKey={view}" if view else ""
    return f"{host}/#/experiments/{find_experiment(server)}/runs?workflowType=machine_learning{shown}"


def save_view(view: View) -> None:
    """Save a view, unless there is one of its key: people may have changed it."""
    server = find_server()
    experiment, client, tag = find_experiment(server), get_client(server), f"{TAG}{view.key}"
    if tag in client.get_experiment(experiment).tags:
        return
    now = int(time.time() * 1000)
    state = base64.b64encode(zlib.compress(json.dumps(_describe_page(view)).encode())).decode()
    envelope = {"name": view.name, "createdAt": now, "updatedAt": now, "state": f"deflate;{state}"}
    client.set_experiment_tag(experiment, tag, json.dumps(envelope))


def _describe_page(view: View) -> dict[str, Any]:
    columns = [f"metrics.`{name}`" for name in view.metrics] + [f"params.`{name}`" for name in view.params]
    bars, pictures = _describe_section("scores", "Scores"), _describe_section("pictures", "Pictures")
    charts = [_describe_chart("BAR", bars, number, metricKey=name) for number, name in enumerate(view.charts)]
    charts += [
        _describe_chart("IMAGE", pictures, number, imageKeys=[name], step=0)
        for number, name in enumerate(view.pictures)
    ]
    return {
        "searchFilter": "",
        "orderByKey": f"metrics.`{view.order}`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": columns,
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": charts,
        "compareRunSections": [bars, pictures],
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
    }


def _describe_section(key: str, name: str) -> dict[str, Any]:
    return {"uuid": key, "name": name, "display": True, "isReordered": True, "deleted": False, "isGenerated": False}


def _describe_chart(kind: str, section: dict[str, Any], number: int, **content: Any) -> dict[str, Any]:
    return {
        "uuid": f"{section['uuid']}-{number}",
        "type": kind,
        "metricSectionId": section["uuid"],
        "runsCountToCompare": COMPARED_RUNS,
        "deleted": False,
        "isGenerated": False,
        **content,
    }
