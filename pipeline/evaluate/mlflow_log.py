"""Log the outputs of stage evaluate to MLflow."""

import json
from pathlib import Path

from icnet import images
from pipeline import tables, tracking
from pipeline.evaluate.inputs import Inputs
from pipeline.metrics import frames
from pipeline.metrics.aggregate import Scores
from pipeline.metrics.records import HEADLINE, ICNET, IN_FIELD, ORIGINAL, RESIZED, SISM, Row
from pipeline.metrics.sums import read_sums

Sums = dict[Row, Scores]

LOGGED = "icnet.evaluated."
"""Tag of a run, followed by the dataset's name: the key of the outputs that the run holds completely."""


SHOWN_PARAMS = ("model.backbone", "model.size", "train.dataset", "train.epochs", "train.lr")
"""Options that are columns of the view of a dataset."""

SHOWN_PICTURES = 5
"""Panels that the view of a dataset compares."""


def log_outputs(inputs: Inputs, out: Path, key: str) -> str | None:
    """Add the outputs in the folder `out` to the run of the training, unless it holds them already.

    Each other method gets a run of its own. Returns the address of the scores in MLflow's UI, None if nothing was
    logged. Raises TrackingError.
    """
    with tracking.translate_errors(tracking.find_server(), f"the scores are in {out}, run again to log them"):
        run, tag = _find_run(inputs), f"{LOGGED}{inputs.dataset}"
        if run.read_tags().get(tag) == key:
            return None
        sums, edition = read_sums(out / "groups.parquet")
        benchmark = _describe_benchmark(inputs, sums, edition)
        _log_files(run, inputs, out, benchmark)
        if (ICNET, RESIZED) in sums:
            _log_scores(run, inputs, sums, benchmark)
        view = _make_view(inputs.dataset, out)
        tracking.save_view(view)
        run.set_tags({tag: key})
        return tracking.link_runs(view.key)


def _describe_benchmark(inputs: Inputs, sums: Sums, edition: str) -> tracking.DataSource:
    scores = sums.get((ICNET, RESIZED), Scores.of([]))
    count = len(scores.groups)
    return tracking.DataSource(inputs.dataset, str(inputs.root), edition, "benchmark", scores.images, count)


def _log_files(run: tracking.Run, inputs: Inputs, out: Path, benchmark: tracking.DataSource) -> None:
    run.log_datasets([benchmark])
    for file in sorted((out / "panels").glob("*.png")):
        run.log_image(images.decode(file.read_bytes()), f"{inputs.dataset}/{file.stem}")
    run.log_file(out, inputs.dataset)


def _log_scores(run: tracking.Run, inputs: Inputs, sums: Sums, benchmark: tracking.DataSource) -> None:
    name, scores = inputs.dataset, sums[ICNET, RESIZED]
    macro = {f"{name}/macro/{metric}": value for metric, value in scores.macro().items()}
    run.log_metrics(_to_metrics(name, sums, ICNET) | macro)
    run.log_metrics({f"{name}/sism/{metric}": value for metric, value in sums[SISM, RESIZED].overall().items()})
    run.log_curves({f"{name}/curve/{curve}": scores.curve(curve) for curve in ("f", "e", "precision", "recall")})
    run.log_table(frames.to_group_frame(sums), f"{name}/groups.json")
    sism = f"SISMs {tables.load_manifest(inputs.samples)['method']}"
    for method in dict.fromkeys(method for method, _ in sums if method != ICNET):
        other = tracking.open_method_run(sism if method == SISM else method)
        other.log_datasets([benchmark])
        other.log_metrics(_to_metrics(name, sums, method))


def _make_view(dataset: str, out: Path) -> tracking.View:
    """The scores on a dataset, and its groups that the methods differ in."""
    metrics = [f"{dataset}/{name}" for name in HEADLINE]
    pictures = [tracking.make_image_key(f"{dataset}/{file.stem}") for file in sorted((out / "panels").glob("*.png"))]
    return tracking.View(
        key=f"icnet-{tables.fingerprint(dataset)}",
        name=f"Scores on {dataset}",
        order=metrics[0],
        metrics=[*metrics, *(f"{dataset}/field/{name}" for name in HEADLINE), "train/loss"],
        params=SHOWN_PARAMS,
        charts=metrics,
        pictures=pictures[:SHOWN_PICTURES],
    )


def _find_run(inputs: Inputs) -> tracking.Run:
    """The run of the training. Maps of subgroups, or made with `predict.looks`, have a run of their own."""
    trained, manifest = read_run_id(inputs.model), tables.load_manifest(inputs.maps)
    chosen = {"subgroups of": manifest.get("subgroup_size"), "looks:": manifest.get("looks")}
    named = [f"{name} {value}" for name, value in chosen.items() if value]
    return tracking.open_method_run(", ".join([f"ICNet {trained}", *named])) if named else tracking.reopen_run(trained)


def _to_metrics(dataset: str, sums: Sums, method: str) -> dict[str, float]:
    values = {}
    for way, prefix in ((RESIZED, dataset), (ORIGINAL, f"{dataset}/original"), (IN_FIELD, f"{dataset}/field")):
        values |= {f"{prefix}/{name}": value for name, value in sums[method, way].overall().items()}
    return values


def read_run_id(model: Path) -> str | None:
    """The id of the run that trained the model in a folder. None if it is not known."""
    file = model / "run.json"
    return json.loads(file.read_text()).get("run_id") if file.is_file() else None
