"""Our figures beside the paper's: each line of a table a DVC experiment, run unless it is there, then drawn."""

import copy
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline import tables
from pipeline.papertables.checkout import MADE, WORK_FOLDER, Checkout, find_paths, format_value, open_checkout
from pipeline.papertables.report import Table
from pipeline.papertables.rows import Row, list_rows
from pipeline.predict.config import PredictConfig
from pipeline.runtime import files, params
from pipeline.sism.config import SismConfig
from pipeline.train.config import ModelConfig, TrainConfig

SECTIONS = {"model": ModelConfig, "train": TrainConfig, "sism": SismConfig, "predict": PredictConfig}

UNUSED = {"register"}
"""Sections that change no figure."""

LAST = "evaluate"
"""The stage that experiments run up to: they register no model."""


def make_table(number: int, settings: Sequence[str] = (), sods: Sequence[str] = ()) -> Table:
    """Run what is missing of a table in the repository around, and write it into results/tables.

    `settings` (`key=value`) change params.yaml before the lines do. Raises ExperimentError where a stage fails.
    """
    with open_checkout() as place:
        changes = {
            key.lstrip("+"): params.parse_yaml(text) for key, _, text in (one.partition("=") for one in settings)
        }
        content = change_params(params.read_params(place.folder / params.PARAMS_FILE), changes)
        lines = list_rows(number, content, sods)
        found: dict[str, tuple[str, dict[str, Any]]] = {}
        for line in lines:
            if line.name and line.name not in found:
                found[line.name] = _run_row(place, line, settings, content)
    table = Table(number, lines, found, content["benchmarks"])
    folder = Path("results") / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    table.frame().to_csv(folder / f"table-{number}.csv", index=False)
    (folder / f"table-{number}.md").write_text(table.markdown())
    return table


def _run_row(
    place: Checkout, line: Row, settings: Sequence[str], content: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """The experiment of a line, run now unless one of the same params, code and data was, and its figures."""
    own = _find_changes(line.settings, content)
    content = change_params(content, own)
    used = {name: section for name, section in content.items() if name not in UNUSED}
    key = tables.fingerprint(used, _digest_code(place.folder), _list_data(content))
    kept = place.root / WORK_FOLDER / "done" / f"{key}.json"
    if not kept.is_file():
        for path in find_paths(content):
            place.reach(path)
        changes = [f"{name}={format_value(value)}" for name, value in own.items()]
        place.run(line.name or "", [*settings, *changes], LAST)
        results = {name: place.folder / "results" / name / "metrics.json" for name in content["benchmarks"]}
        kept.parent.mkdir(exist_ok=True)
        scores = {name: json.loads(file.read_text()) for name, file in results.items()}
        files.write_json(kept, {"experiment": line.name, "scores": scores})
    return tuple(json.loads(kept.read_text()).values())


def change_params(content: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """The content of params.yaml with other values at some dotted keys."""
    content = copy.deepcopy(content)
    for key, value in settings.items():
        *parents, name = key.split(".")
        place = content
        for parent in parents:
            place[parent] = place.get(parent) or {}
            place = place[parent]
        place[name] = value
    return content


def _find_changes(settings: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    """What of a line's settings is not so already: a value that is merely spelt out would train again."""
    found = {}
    for key, value in settings.items():
        section, _, name = key.partition(".")
        now = params.parse_section(content.get(section) or {}, section, SECTIONS[section])
        if getattr(now, name) != value:
            found[key] = value
    return found


def _digest_code(folder: Path) -> dict[str, str]:
    """The digests of the source files that dvc.yaml lets the stages depend on, and its own."""
    stages = yaml.safe_load((folder / "dvc.yaml").read_text())["stages"]
    deps = {dep for name, stage in stages.items() if name not in UNUSED for dep in stage.get("do", stage)["deps"]}
    code = [folder / dep for dep in deps if dep.startswith(("icnet", "pipeline"))]
    files = [folder / "dvc.yaml", *code, *(file for dep in code for file in dep.rglob("*.py"))]
    files = sorted({file for file in files if file.is_file()})
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _list_data(content: dict[str, Any]) -> list[tuple[str, int, int]]:
    """Every file of the collections that are not made by a stage, with its size and the time of its last change."""
    roots = [dataset["root"] for dataset in content["datasets"].values()]
    found = [file for root in roots if not root.startswith(MADE) for file in Path(root).rglob("*")]
    return sorted((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in found if file.is_file())
