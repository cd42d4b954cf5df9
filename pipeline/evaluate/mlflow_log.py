"""What stage evaluate logs to MLflow."""

import json
from pathlib import Path

import numpy as np

from pipeline import tables, tracking
from pipeline.evaluate.inputs import Inputs
from pipeline.metrics import records
from pipeline.metrics.aggregate import Scores
from pipeline.metrics.records import ICNET, ORIGINAL, RESIZED, SISM, Results, Row


def log_results(
    inputs: Inputs, found: Results, sums: dict[Row, Scores], drawn: dict[str, np.ndarray], out: Path
) -> None:
    """Add everything to the run of the training, and a row in the experiment for each other method."""
    name, run = inputs.dataset, _find_run(inputs)
    first = sums[ICNET, RESIZED]
    read = tracking.DataSource(name, str(inputs.root), found.edition, "benchmark", first.images, len(first.groups))
    run.log_datasets([read])
    for place, picture in drawn.items():
        run.log_image(picture, f"{name}/{place}")
    run.log_file(out, name)
    if not first.images:
        return
    run.log_metrics(
        _to_metrics(name, sums, ICNET) | {f"{name}/macro/{key}": value for key, value in first.macro().items()}
    )
    run.log_metrics({f"{name}/sism/{key}": value for key, value in sums[SISM, RESIZED].overall().items()})
    run.log_curves({f"{name}/curve/{curve}": first.curve(curve) for curve in ("f", "e", "precision", "recall")})
    run.log_table(
        records.to_group_table({row: one for row, one in sums.items() if row[1] == RESIZED}), f"{name}/groups.json"
    )
    sism = f"SISMs {tables.load_manifest(inputs.samples)['method']}"
    for method in dict.fromkeys(method for method, _ in sums if method != ICNET):
        row = tracking.open_method_run(sism if method == SISM else method)
        row.log_datasets([read])
        row.log_metrics(_to_metrics(name, sums, method))


def _find_run(inputs: Inputs) -> tracking.Run:
    """The run of the training; maps of cut groups are a method of their own, not what the model is worth."""
    trained, cut = read_run_id(inputs.model), tables.load_manifest(inputs.maps).get("subgroup_size")
    return tracking.open_method_run(f"ICNet {trained}, groups cut by {cut}") if cut else tracking.reopen_run(trained)


def _to_metrics(dataset: str, sums: dict[Row, Scores], method: str) -> dict[str, float]:
    values = {f"{dataset}/{name}": value for name, value in sums[method, RESIZED].overall().items()}
    return values | {f"{dataset}/original/{name}": value for name, value in sums[method, ORIGINAL].overall().items()}


def read_run_id(model: Path) -> str | None:
    """The id of the run that trained the model in a folder, where it says so."""
    file = model / "run.json"
    return json.loads(file.read_text()).get("run_id") if file.is_file() else None
