"""Stage register: model + results -> a version of the registered model, and champion if a paired test says so."""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

from icnet import checkpoint
from icnet.sod.base import Spec
from pipeline import tables, tracking
from pipeline.metrics import records
from pipeline.metrics.records import ICNET, ORIGINAL, RESIZED
from pipeline.register.config import RegisterConfig
from pipeline.register.gate import Board, Criterion, Verdict, judge_challenger, load_board
from pipeline.register.package import publish_model
from pipeline.register.registry import CHALLENGER, CHAMPION, Registry
from pipeline.runtime import locks, params, report
from pipeline.runtime.files import write_json
from pipeline.tracking import Run

DESCRIPTION = """ICNet finds what a group of photographs has in common (co-saliency detection, NeurIPS 2020).

`champion` is the best version so far, `challenger` the last one that was not better, `previous` the champion before.
"""


def identify_model(model: Path, spec: str) -> str:
    """A name that changes with the weights and the SOD method inside."""
    return tables.fingerprint(hashlib.sha256(model.read_bytes()).hexdigest(), spec)


def choose_sism(config: RegisterConfig, sism: str) -> str:
    """The SOD method that the registered model runs on photographs that come without SISMs."""
    spec = config.sod or sism
    return "gc" if Spec.parse(spec).kind == "maps" else spec


def find_score_files(folder: Path, benchmarks: list[str]) -> dict[str, Path]:
    """Each benchmark's file of sums. Raises TableError where one was not evaluated."""
    files = {benchmark: folder / benchmark / "groups.parquet" for benchmark in benchmarks}
    for benchmark, file in files.items():
        if not file.is_file():
            raise tables.TableError(f"{benchmark} was not evaluated: {file} is not there, run `dvc repro`")
    return files


def load_champion_board(registry: Registry, number: str, benchmarks: list[str], size: str) -> Board:
    """The board of a version, from the artifacts of its run."""
    run = Run(registry.version(number).run_id, registry.server)
    with tempfile.TemporaryDirectory() as folder:
        found = {name: run.fetch_file(f"{name}/groups.parquet", Path(folder) / name) for name in benchmarks}
        return load_board({name: file for name, file in found.items() if file}, size)


def collect_metrics(files: dict[str, Path]) -> dict[str, float]:
    """ICNet's metrics by benchmark, named as stage evaluate names them."""
    found = {}
    for benchmark, file in files.items():
        sums, _ = records.read_sums(file)
        for size, prefix in ((RESIZED, benchmark), (ORIGINAL, f"{benchmark}/original")):
            if (ICNET, size) in sums:
                found |= {f"{prefix}/{name}": value for name, value in sums[ICNET, size].overall().items()}
    return found


def add_version(
    registry: Registry, model: Path, files: dict[str, Path], spec: str, config: RegisterConfig
) -> tuple[str, Run]:
    """The version of this model, made now unless the same one was registered before, and the run behind it."""
    made = identify_model(model / "model.safetensors", spec)
    if known := registry.find(made):
        return str(known.version), Run(known.run_id, registry.server)
    facts = json.loads((model / "run.json").read_text()) if (model / "run.json").is_file() else {}
    network = checkpoint.read_metadata(model / "model.safetensors")["config"]
    tags: dict[str, Any] = {
        "identity": made,
        "licence": config.licence,
        "data": facts.get("dataset", "unknown"),
        "data_licence": config.data_licence,
        "sod": spec,
        "size": network["size"],
        "width": network["width"],
    }
    run = tracking.reopen_run(facts.get("run_id"))
    logged = publish_model(run, model / "model.safetensors", spec, tags)
    if values := collect_metrics(files):
        run.log_metrics(values, model=logged)
    return str(registry.add(run, logged, tags).version), run


def decide_champion(registry: Registry, number: str, ours: Board, benchmarks: list[str], test: Criterion) -> Verdict:
    """Whether a version shall be the champion; asked again where another took the place while they were compared."""
    champion, tags = registry.aliases().get(CHAMPION), registry.version(number).tags
    if champion == number:
        return Verdict(True, tags.get("gate_reason", f"version {number} is the champion already"))
    if champion is None:
        return Verdict(True, f"version {number} is the first that was registered")
    if tags.get("rolled_back") == "true":
        return Verdict(False, f"version {number} was rolled back by hand, and only a hand takes that back")
    verdict = judge_challenger(
        ours, load_champion_board(registry, champion, benchmarks, test.size), test, f"version {champion}"
    )
    if registry.aliases().get(CHAMPION) != champion:
        return decide_champion(registry, number, ours, benchmarks, test)
    return verdict


def register_model(
    model: Path, scored: Path, out: Path, benchmarks: list[str], sism: str, config: RegisterConfig
) -> None:
    """Register a model and let the gate decide; two at the same time wait for each other.

    Raises TableError where a benchmark was not evaluated, and CheckpointError where the model is none.
    """
    files = find_score_files(scored, benchmarks)
    registry = Registry(config.name, tracking.find_server())
    with tracking.lock_server(registry.server):
        registry.create(DESCRIPTION)
        number, run = add_version(registry, model, files, choose_sism(config, sism), config)
        verdict = decide_champion(registry, number, load_board(files, config.size), benchmarks, config)
        alias = CHAMPION if verdict.better else CHALLENGER
        if verdict.better:
            registry.promote(number)
        else:
            registry.point(CHALLENGER, number)
        gate_said = "passed" if verdict.better else "not passed"
        registry.note(number, f"Gate {gate_said}: {verdict.reason}", gate=gate_said, gate_reason=verdict.reason)
    content = {"name": config.name, "version": int(number), "alias": alias, "reason": verdict.reason, "run_id": run.id}
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, content)
    report.print_summary(
        "register",
        f"models:/{config.name}/{number} is {alias}: {verdict.reason}",
        f"load it with mlflow.pyfunc.load_model('models:/{config.name}@{alias}') from {registry.server}",
    )


def main(model: Path, results: Path, out: Path) -> None:
    """Make the model in the folder MODEL a version; RESULTS holds a folder a benchmark, OUT says what became of it."""
    sism = params.load_section("sism", dict[str, Any]).get("method", "gc")
    benchmarks, config = params.load_section("benchmarks", list[str]), params.load_section("register", RegisterConfig)
    with locks.lock_output(out):
        register_model(model, results, out, benchmarks, sism, config)
