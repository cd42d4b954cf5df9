"""Our figures beside the paper's: each line of a table a DVC experiment, run unless it is there, then drawn."""

import copy
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from pipeline import experiments, paper, params, predict, sism, tables, train
from pipeline.experiments import PLACE, Checkout
from pipeline.paper import BENCHMARKS, Line
from pipeline.results import HEADLINE

SECTIONS = {"model": train.Network, "train": train.Params, "sism": sism.Params, "predict": predict.Params}
UNUSED = {"register"}
"""Sections that change no figure."""
LAST = "evaluate"
"""The stage that experiments run up to: they register no model."""
LABELS = ("max F", "S", "MAE")
KEYS = HEADLINE, tuple(f"paper_{name}" for name in HEADLINE)


@dataclass(frozen=True)
class Table:
    """A table of the paper for our benchmarks: lines, and by a line's name its experiment and that one's figures,
    {benchmark: {method: {metric: value}}}."""

    number: int
    lines: list[Line]
    found: dict[str, tuple[str, dict[str, Any]]]
    benchmarks: list[str]

    def frame(self) -> pd.DataFrame:
        """Our figures and the paper's, a row for each line and benchmark."""
        rows = []
        for benchmark in self.benchmarks:
            other = paper.beside(benchmark)
            for line in self.lines:
                experiment, scores = self.found.get(line.name or "", (None, {}))
                ours = scores.get(benchmark, {}).get(line.method, {})
                printed = paper.figures(line.printed, other) or (None,) * len(HEADLINE)
                row = {"table": self.number, "benchmark": benchmark, "line": line.label, "experiment": experiment}
                row |= {name: ours.get(name) for name in HEADLINE}
                row |= {"paper_benchmark": BENCHMARKS[other]}
                rows.append(row | {f"paper_{name}": value for name, value in zip(HEADLINE, printed, strict=True)})
        return pd.DataFrame(rows)

    def text(self) -> str:
        """The table for a terminal."""
        wide = max(len(line.label) for line in self.lines) + 2
        parts = [f"Table {self.number}. {paper.TITLES[self.number]}"]
        head = "  ".join(f"{label:>5}" for label in LABELS)
        for title, rows in self._blocks():
            parts.append(f"\n{'':<{wide}}{title[0]:<19}    paper, {title[1]}\n{'':<{wide}}{head}    {head}")
            for label, *both in rows:
                cells = "    ".join("  ".join(f"{cell:>5}" for cell in side) for side in both)
                parts.append(f"{label:<{wide}}{cells}")
        return "\n".join(parts)

    def markdown(self) -> str:
        """The table for a document."""
        parts = [f"# Table {self.number}. {paper.TITLES[self.number]}"]
        for title, rows in self._blocks():
            parts.append(f"\n{title[0]} beside the paper's {title[1]}\n")
            parts.append("| | " + " | ".join([*LABELS, *(f"paper {label}" for label in LABELS)]) + " |")
            parts.append("|---|" + "---:|" * (2 * len(LABELS)))
            parts += ["| " + " | ".join([label, *ours, *printed]) + " |" for label, ours, printed in rows]
        return "\n".join(parts) + "\n"

    def _blocks(self) -> Iterator[tuple[tuple[str, str], list[tuple[str, list[str], list[str]]]]]:
        """Per benchmark its name and the paper's, and by line the cells of ours and of the paper's figures."""
        for benchmark, part in self.frame().groupby("benchmark", sort=False):
            rows = []
            for row in part.to_dict("records"):
                cells = [["-" if pd.isna(row[key]) else f"{row[key]:.3f}" for key in keys] for keys in KEYS]
                rows.append((row["line"], *cells))
            yield (benchmark, part["paper_benchmark"].iloc[0]), rows


def make(number: int, settings: Sequence[str] = (), sods: Sequence[str] = ()) -> Table:
    """Run what is missing of a table in the repository around, and write it into results/tables.

    `settings` (`key=value`) change params.yaml before the lines do. Raises ExperimentError where a stage fails.
    """
    with experiments.checkout() as place:
        changes = {key.lstrip("+"): params.value(text) for key, _, text in (one.partition("=") for one in settings)}
        content = changed(params.read(place.folder / params.FILE), changes)
        lines = paper.lines(number, content, sods)
        found: dict[str, tuple[str, dict[str, Any]]] = {}
        for line in lines:
            if line.name and line.name not in found:
                found[line.name] = _found(place, line, settings, content)
    table = Table(number, lines, found, content["benchmarks"])
    folder = Path("results") / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    table.frame().to_csv(folder / f"table-{number}.csv", index=False)
    (folder / f"table-{number}.md").write_text(table.markdown())
    return table


def _found(place: Checkout, line: Line, settings: Sequence[str], content: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The experiment of a line, run now unless one of the same params, code and data was, and its figures."""
    own = _differing(line.settings, content)
    content = changed(content, own)
    used = {name: section for name, section in content.items() if name not in UNUSED}
    key = tables.fingerprint(used, _code(place.folder), _data(content))
    kept = place.root / PLACE / "done" / f"{key}.json"
    if not kept.is_file():
        for path in experiments.named(content):
            place.reach(path)
        changes = [f"{name}={experiments.written(value)}" for name, value in own.items()]
        place.run(line.name or "", [*settings, *changes], LAST)
        results = {name: place.folder / "results" / name / "metrics.json" for name in content["benchmarks"]}
        kept.parent.mkdir(exist_ok=True)
        scores = {name: json.loads(file.read_text()) for name, file in results.items()}
        tables.write_json(kept, {"experiment": line.name, "scores": scores})
    return tuple(json.loads(kept.read_text()).values())


def changed(content: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
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


def _differing(settings: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    """What of a line's settings is not so already: a value that is merely spelt out would train again."""
    found = {}
    for key, value in settings.items():
        section, _, name = key.partition(".")
        now = params.parse(content.get(section) or {}, section, SECTIONS[section])
        if getattr(now, name) != value:
            found[key] = value
    return found


def _code(folder: Path) -> dict[str, str]:
    """The digests of the source files that dvc.yaml lets the stages depend on, and its own."""
    stages = yaml.safe_load((folder / "dvc.yaml").read_text())["stages"]
    deps = {dep for name, stage in stages.items() if name not in UNUSED for dep in stage.get("do", stage)["deps"]}
    code = [folder / dep for dep in deps if dep.startswith(("icnet", "pipeline"))]
    files = [folder / "dvc.yaml", *code, *(file for dep in code for file in dep.rglob("*.py"))]
    files = sorted({file for file in files if file.is_file()})
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _data(content: dict[str, Any]) -> list[tuple[str, int, int]]:
    """Every file of the collections that are not made by a stage, with its size and the time of its last change."""
    roots = [dataset["root"] for dataset in content["datasets"].values()]
    found = [file for root in roots if not root.startswith(experiments.MADE) for file in Path(root).rglob("*")]
    return sorted((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in found if file.is_file())
