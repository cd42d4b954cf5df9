"""Stage register: model + results -> a version of the registered model, and champion if a paired test passes."""

import json
import tempfile
from pathlib import Path
from typing import Any

from icnet import checkpoint
from icnet.sod.base import Spec
from pipeline import tables, tracking
from pipeline.metrics.records import ICNET, IN_FIELD, ORIGINAL, RESIZED
from pipeline.metrics.sums import read_sums
from pipeline.register.card import write_card
from pipeline.register.config import RegisterConfig
from pipeline.register.gate import Board, Criterion, Verdict, judge_challenger, load_board
from pipeline.register.package import publish_model
from pipeline.register.receipt import Inputs, Receipt, identify_model, is_up_to_date, make_key
from pipeline.register.registry import CHALLENGER, CHAMPION, Registry
from pipeline.runtime import locks, params, report
from pipeline.tracking import Run

DESCRIPTION = """ICNet finds what a group of photographs has in common (co-saliency detection, NeurIPS 2020).

`champion` is the best version so far, `challenger` the last one that was not better, `previous` the former champion.
"""


def choose_sod(config: RegisterConfig, sism_method: str) -> str:
    """The SOD method inside the registered model, for photographs without SISMs."""
    spec = config.sod or sism_method
    return "gc" if Spec.parse(spec).kind == "maps" else spec


def find_score_files(folder: Path, benchmarks: list[str]) -> dict[str, Path]:
    """The file of sums of each benchmark. Raises TableError if one was not evaluated."""
    files = {benchmark: folder / benchmark / "groups.parquet" for benchmark in benchmarks}
    for benchmark, file in files.items():
        if not file.is_file():
            raise tables.TableError(f"{benchmark} was not evaluated: there is no {file}, run `dvc repro`")
    return files


def load_champion_board(registry: Registry, number: str, benchmarks: list[str], size: str) -> Board:
    """The board of a version, from the artifacts of its run. Raises TrackingError if the artifact store fails."""
    run = Run(registry.get_version(number).run_id, registry.server)
    with tempfile.TemporaryDirectory() as folder:
        found = {name: run.fetch_file(f"{name}/groups.parquet", Path(folder) / name) for name in benchmarks}
        return load_board({name: file for name, file in found.items() if file}, size)


def collect_metrics(files: dict[str, Path]) -> dict[str, float]:
    """ICNet's metrics on all benchmarks, named as stage evaluate names them."""
    found = {}
    for benchmark, file in files.items():
        sums, _ = read_sums(file)
        for way, prefix in ((RESIZED, ""), (ORIGINAL, "original/"), (IN_FIELD, "field/")):
            if (ICNET, way) in sums:
                values = sums[ICNET, way].overall()
                found |= {f"{benchmark}/{prefix}{name}": value for name, value in values.items()}
    return found


def add_version(registry: Registry, inputs: Inputs, config: RegisterConfig) -> tuple[str, Run]:
    """The version of this model and its run. A version is created unless the same model has one."""
    identity = identify_model(inputs.weights, inputs.sod)
    if known := registry.find_version(identity):
        registry.annotate(str(known.version), licence=config.licence, data_licence=config.data_licence)
        return str(known.version), Run(known.run_id, registry.server)
    facts = json.loads(inputs.facts.read_text()) if inputs.facts.is_file() else {}
    network = checkpoint.read_metadata(inputs.weights)["config"]
    tags: dict[str, Any] = {
        "identity": identity,
        "licence": config.licence,
        "data": facts.get("dataset", "unknown"),
        "data_licence": config.data_licence,
        "sod": inputs.sod,
        "backbone": network.get("backbone", "vgg16"),
        "size": network["size"],
        "width": network["width"],
    }
    run = tracking.reopen_run(facts.get("run_id"))
    model_id = publish_model(run, inputs.weights, inputs.sod, tags)
    if values := collect_metrics(inputs.scores):
        run.log_metrics(values, model=model_id)
    return str(registry.add_version(run, model_id, tags).version), run


def decide_champion(registry: Registry, number: str, ours: Board, benchmarks: list[str], test: Criterion) -> Verdict:
    """Whether a version becomes champion. If the champion changes meanwhile, the comparison starts again."""
    champion, tags = registry.get_aliases().get(CHAMPION), registry.get_version(number).tags
    if champion == number:
        return Verdict(True, tags.get("gate_reason", f"version {number} is already the champion"))
    if champion is None:
        return Verdict(True, f"version {number} is the first version")
    if tags.get("rolled_back") == "true":
        return Verdict(False, f"version {number} was rolled back manually: only `cosal rollback {number}` promotes it")
    theirs = load_champion_board(registry, champion, benchmarks, test.size)
    verdict = judge_challenger(ours, theirs, test, f"version {champion}")
    if registry.get_aliases().get(CHAMPION) != champion:
        return decide_champion(registry, number, ours, benchmarks, test)
    return verdict


def apply_verdict(registry: Registry, number: str, verdict: Verdict, scores: Board, size: str) -> str:
    """Move the aliases, and note the verdict and a card on the version. Returns the version's alias."""
    if verdict.better:
        registry.promote(number)
    else:
        registry.set_alias(CHALLENGER, number)
    gate = "passed" if verdict.better else "not passed"
    sentence, address = f"Gate {gate}: {verdict.reason}", f"models:/{registry.name}/{number}"
    card = write_card(sentence, scores, size, registry.get_version(number).tags, address)
    registry.annotate(number, card, gate=gate, gate_reason=verdict.reason)
    return CHAMPION if verdict.better else CHALLENGER


def register_model(
    model: Path, results: Path, out: Path, benchmarks: list[str], sism_method: str, config: RegisterConfig
) -> None:
    """Register a model and let the gate decide, unless `out` says that this was done.

    Two processes with the same local database wait for each other. Raises TableError if a benchmark was not evaluated,
    CheckpointError if the model is not one, ReceiptError if `out` is a file of another program, and TrackingError if
    MLflow fails.
    """
    inputs = Inputs(model, find_score_files(results, benchmarks), choose_sod(config, sism_method))
    registry, key = Registry(config.name, tracking.find_server()), make_key(inputs, config)
    receipt = Receipt.read(out)
    with (
        tracking.translate_errors(registry.server, "run the stage again when it answers"),
        tracking.lock_server(registry.server),
    ):
        if receipt and receipt.key == key and is_up_to_date(registry, receipt):
            return _print_result(registry, receipt)
        registry.create_model(DESCRIPTION)
        number, run = add_version(registry, inputs, config)
        scores = load_board(inputs.scores, config.size)
        verdict = decide_champion(registry, number, scores, benchmarks, config)
        alias = apply_verdict(registry, number, verdict, scores, config.size)
        champion = int(registry.get_aliases()[CHAMPION])
    receipt = Receipt(config.name, int(number), alias, champion, verdict.reason, run.id, key)
    receipt.write(out)
    _print_result(registry, receipt)


def _print_result(registry: Registry, receipt: Receipt) -> None:
    server = tracking.hide_password(registry.server)
    report.print_summary(
        "register",
        f"models:/{receipt.name}/{receipt.version} is {receipt.alias}: {receipt.reason}",
        f"load it with mlflow.pyfunc.load_model('models:/{receipt.name}@{receipt.alias}') from {server}",
    )


def main(model: Path, results: Path, out: Path) -> None:
    """Register the model in the folder MODEL; RESULTS holds a folder for each benchmark, OUT gets the decision."""
    sism = params.load_section("sism", dict[str, Any]).get("method", "gc")
    benchmarks, config = params.load_section("benchmarks", list[str]), params.load_section("register", RegisterConfig)
    with locks.lock_output(out):
        register_model(model, results, out, benchmarks, sism, config)
