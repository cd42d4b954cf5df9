"""Our figures next to the paper's: each row of a table is a DVC experiment. It runs unless its figures are known."""

import copy
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline import tables
from pipeline.papertables.checkout import MADE, WORK_FOLDER, Checkout, find_paths, format_value, open_checkout
from pipeline.papertables.figures import LATER
from pipeline.papertables.report import Table
from pipeline.papertables.rows import Row, list_rows
from pipeline.predict.config import PredictConfig
from pipeline.runtime import files, params
from pipeline.sism.config import SismConfig
from pipeline.train.config import ModelConfig, TrainConfig

SECTIONS: dict[str, type[params.Section]] = {
    "model": ModelConfig,
    "train": TrainConfig,
    "sism": SismConfig,
    "predict": PredictConfig,
}

UNUSED = {"register"}
"""Stages, and sections of params.yaml, that change no figure."""

TARGET = "evaluate"
"""The last stage of an experiment. Experiments register no model."""

FILES = {LATER: "field"}
"""The file of figures that a table reads, if it is not metrics.json."""

Figures = tuple[str, dict[str, Any]]
"""The name of an experiment, and its figures by benchmark and method."""


def make_table(number: int, settings: Sequence[str] = (), sods: Sequence[str] = ()) -> Table:
    """Run the missing experiments of a table, and write the table into results/tables.

    The repository is the working folder. `settings` (`key=value`) change params.yaml for all rows, `sods` are the SOD
    methods of Table 3. Raises ExperimentError if a stage fails.
    """
    with open_checkout() as checkout:
        changes = {
            key.lstrip("+"): params.parse_yaml(text) for key, _, text in (one.partition("=") for one in settings)
        }
        content = change_params(params.read_params(checkout.folder / params.PARAMS_FILE), changes)
        rows = list_rows(number, content, sods)
        found: dict[str, Figures] = {}
        for row in rows:
            if row.name and row.name not in found:
                found[row.name] = _find_figures(checkout, row, settings, content, FILES.get(number, "metrics"))
    table = Table(number, rows, found, content["benchmarks"])
    _write_table(table)
    return table


def _write_table(table: Table) -> None:
    folder = Path("results") / "tables"
    files.write_file(folder / f"table-{table.number}.csv", table.frame().to_csv(index=False).encode())
    files.write_file(folder / f"table-{table.number}.md", table.markdown().encode())


def _find_figures(checkout: Checkout, row: Row, settings: Sequence[str], content: dict[str, Any], kind: str) -> Figures:
    """The figures of a row, from results/<benchmark>/<kind>.json.

    Its experiment runs unless one with the same params, code and data did.
    """
    changes = _find_changes(row.settings, content)
    content = change_params(content, changes)
    file = checkout.root / WORK_FOLDER / "done" / f"{make_key(checkout.folder, content)}.json"
    if not file.is_file():
        for path in find_paths(content):
            checkout.link_path(path)
        changed = [f"{name}={format_value(value)}" for name, value in changes.items()]
        checkout.run(row.name or "", [*settings, *changed], TARGET)
        results = {name: checkout.folder / "results" / name for name in content["benchmarks"]}
        scores = {
            kind: {name: json.loads((folder / f"{kind}.json").read_text()) for name, folder in results.items()}
            for kind in ("metrics", "field")
        }
        files.write_json(file, {"experiment": row.name, "scores": scores})
    known = json.loads(file.read_text())
    return known["experiment"], known["scores"][kind]


def make_key(folder: Path, content: dict[str, Any]) -> str:
    """A key of everything that decides the figures of an experiment: params, code and data.

    The code is that of dvc.yaml's stages. A change of it starts the experiment again. DVC then runs the stages whose
    code changed, and these return at once if their outputs are up to date.
    """
    used = {name: section for name, section in content.items() if name not in UNUSED}
    return tables.fingerprint(used, _digest_code(folder), _list_data(content))


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
    """The settings that change a value. Writing a value that is already set would train again."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        section, _, name = key.partition(".")
        now = params.parse_section(content.get(section) or {}, section, SECTIONS[section])
        if getattr(now, name) != value:
            found[key] = value
    return found


def _digest_code(folder: Path) -> dict[str, str]:
    """The digest of dvc.yaml, and of each source file that its stages depend on. Bytecode is not source."""
    code = sorted(
        {folder / "dvc.yaml", *(file for path in _list_code(folder) for file in _list_sources(folder / path))}
    )
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in code}


def _list_code(folder: Path) -> set[str]:
    """The files and folders of code that dvc.yaml names."""
    stages = yaml.safe_load((folder / "dvc.yaml").read_text())["stages"]
    deps = {dep for name, stage in stages.items() if name not in UNUSED for dep in stage.get("do", stage)["deps"]}
    return {dep for dep in deps if dep.startswith(("icnet", "pipeline"))}


def _list_sources(path: Path) -> Iterator[Path]:
    """The path itself if it is a file, or the files below it."""
    if path.is_file():
        yield path
    yield from (file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)


def _list_data(content: dict[str, Any]) -> list[tuple[str, int, int]]:
    """Path, bytes and time of each file of the collections, except of those that a stage makes."""
    roots = [dataset["root"] for dataset in content["datasets"].values()]
    found = [file for root in roots if not Path(root).is_relative_to(MADE) for file in Path(root).rglob("*")]
    return sorted((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in found if file.is_file())
