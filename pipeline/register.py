"""Stage register: model + results -> a version of the registered model, and champion if a paired test says so."""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

from pydantic import Field

from icnet import checkpoint
from icnet.sod import Spec
from pipeline import command, gate, params, results, summary, tables, tracking
from pipeline.gate import Board, Verdict
from pipeline.registry import CHALLENGER, CHAMPION, Registry, publish
from pipeline.results import ICNET, ORIGINAL, RESIZED
from pipeline.tracking import Run

DESCRIPTION = """ICNet finds what a group of photographs has in common (co-saliency detection, NeurIPS 2020).

`champion` is the best version so far, `challenger` the last one that was not better, `previous` the champion before.
"""


class Params(gate.Criterion):
    """What is registered under which `name`, the SOD method inside (null: that of stage sism, or gc where that one
    reads maps made elsewhere), tags about licences, and the criterion of the gate."""

    name: str = Field("icnet", pattern=r"^[^/:]+$")
    sod: str | None = None
    licence: str = "MIT"
    data_licence: str = "see the dataset"


def identity(model: Path, spec: str) -> str:
    """A name that changes with the weights and the SOD method inside."""
    return tables.fingerprint(hashlib.sha256(model.read_bytes()).hexdigest(), spec)


def inside(knobs: Params, sism: str) -> str:
    """The SOD method that the registered model runs on photographs that come without SISMs."""
    spec = knobs.sod or sism
    return "gc" if Spec.parse(spec).kind == "maps" else spec


def files_of(folder: Path, benchmarks: list[str]) -> dict[str, Path]:
    """Each benchmark's file of sums. Raises TableError where one was not evaluated."""
    files = {benchmark: folder / benchmark / "groups.parquet" for benchmark in benchmarks}
    for benchmark, file in files.items():
        if not file.is_file():
            raise tables.TableError(f"{benchmark} was not evaluated: {file} is not there, run `dvc repro`")
    return files


def theirs(registry: Registry, number: str, benchmarks: list[str], size: str) -> Board:
    """The board of a version, from the artifacts of its run."""
    run = Run(registry.version(number).run_id, registry.server)
    with tempfile.TemporaryDirectory() as folder:
        found = {name: run.fetch(f"{name}/groups.parquet", Path(folder) / name) for name in benchmarks}
        return gate.board({name: file for name, file in found.items() if file}, size)


def metrics(files: dict[str, Path]) -> dict[str, float]:
    """ICNet's metrics by benchmark, named as stage evaluate names them."""
    found = {}
    for benchmark, file in files.items():
        sums, _ = results.read_sums(file)
        for size, prefix in ((RESIZED, benchmark), (ORIGINAL, f"{benchmark}/original")):
            if (ICNET, size) in sums:
                found |= {f"{prefix}/{name}": value for name, value in sums[ICNET, size].overall().items()}
    return found


def add(registry: Registry, model: Path, files: dict[str, Path], spec: str, knobs: Params) -> tuple[str, Run]:
    """The version of this model, made now unless the same one was registered before, and the run behind it."""
    made = identity(model / "model.safetensors", spec)
    if known := registry.find(made):
        return str(known.version), Run(known.run_id, registry.server)
    facts = json.loads((model / "run.json").read_text()) if (model / "run.json").is_file() else {}
    config = checkpoint.metadata(model / "model.safetensors")["config"]
    tags: dict[str, Any] = {
        "identity": made,
        "licence": knobs.licence,
        "data": facts.get("dataset", "unknown"),
        "data_licence": knobs.data_licence,
        "sod": spec,
        "size": config["size"],
        "width": config["width"],
    }
    run = tracking.reopen(facts.get("run_id"))
    logged = publish(run, model / "model.safetensors", spec, tags)
    if values := metrics(files):
        run.metrics(values, model=logged)
    return str(registry.add(run, logged, tags).version), run


def decide(registry: Registry, number: str, ours: Board, benchmarks: list[str], test: gate.Criterion) -> Verdict:
    """Whether a version shall be the champion; asked again where another took the place while they were compared."""
    champion, tags = registry.aliases().get(CHAMPION), registry.version(number).tags
    if champion == number:
        return Verdict(True, tags.get("gate_reason", f"version {number} is the champion already"))
    if champion is None:
        return Verdict(True, f"version {number} is the first that was registered")
    if tags.get("rolled_back") == "true":
        return Verdict(False, f"version {number} was rolled back by hand, and only a hand takes that back")
    verdict = gate.judge(ours, theirs(registry, champion, benchmarks, test.size), test, f"version {champion}")
    if registry.aliases().get(CHAMPION) != champion:
        return decide(registry, number, ours, benchmarks, test)
    return verdict


def register(model: Path, scored: Path, out: Path, benchmarks: list[str], sism: str, knobs: Params) -> None:
    """Register a model and let the gate decide; two at the same time wait for each other.

    Raises TableError where a benchmark was not evaluated, and CheckpointError where the model is none.
    """
    files = files_of(scored, benchmarks)
    registry = Registry(knobs.name, tracking.server())
    with tracking.lock(registry.server):
        registry.create(DESCRIPTION)
        number, run = add(registry, model, files, inside(knobs, sism), knobs)
        verdict = decide(registry, number, gate.board(files, knobs.size), benchmarks, knobs)
        alias = CHAMPION if verdict.better else CHALLENGER
        if verdict.better:
            registry.promote(number)
        else:
            registry.point(CHALLENGER, number)
        gate_said = "passed" if verdict.better else "not passed"
        registry.note(number, f"Gate {gate_said}: {verdict.reason}", gate=gate_said, gate_reason=verdict.reason)
    content = {"name": knobs.name, "version": int(number), "alias": alias, "reason": verdict.reason, "run_id": run.id}
    out.parent.mkdir(parents=True, exist_ok=True)
    tables.write_json(out, content)
    summary.tell(
        "register",
        f"models:/{knobs.name}/{number} is {alias}: {verdict.reason}",
        f"load it with mlflow.pyfunc.load_model('models:/{knobs.name}@{alias}') from {registry.server}",
    )


def main(model: Path, results: Path, out: Path) -> None:
    """Make the model in the folder MODEL a version; RESULTS holds a folder a benchmark, OUT says what became of it."""
    sism = params.load("sism", dict[str, Any]).get("method", "gc")
    register(model, results, out, params.load("benchmarks", list[str]), sism, params.load("register", Params))


if __name__ == "__main__":
    command.run("pipeline.register")
