"""A table of the paper with our figures: as data, text and Markdown."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.metrics.records import HEADLINE
from pipeline.papertables.figures import BENCHMARKS, TITLES, match_benchmark, select_figures
from pipeline.papertables.rows import Row

LABELS = ("max F", "S", "MAE")

KEYS = HEADLINE, tuple(f"paper_{name}" for name in HEADLINE)


@dataclass(frozen=True)
class Table:
    """A table of the paper for our benchmarks: lines, and by a line's name its experiment and that one's figures,
    {benchmark: {method: {metric: value}}}."""

    number: int
    lines: list[Row]
    found: dict[str, tuple[str, dict[str, Any]]]
    benchmarks: list[str]

    def frame(self) -> pd.DataFrame:
        """Our figures and the paper's, a row for each line and benchmark."""
        rows = []
        for benchmark in self.benchmarks:
            other = match_benchmark(benchmark)
            for line in self.lines:
                experiment, scores = self.found.get(line.name or "", (None, {}))
                ours = scores.get(benchmark, {}).get(line.method, {})
                printed = select_figures(line.printed, other) or (None,) * len(HEADLINE)
                row = {"table": self.number, "benchmark": benchmark, "line": line.label, "experiment": experiment}
                row |= {name: ours.get(name) for name in HEADLINE}
                row |= {"paper_benchmark": BENCHMARKS[other]}
                rows.append(row | {f"paper_{name}": value for name, value in zip(HEADLINE, printed, strict=True)})
        return pd.DataFrame(rows)

    def text(self) -> str:
        """The table for a terminal."""
        wide = max(len(line.label) for line in self.lines) + 2
        parts = [f"Table {self.number}. {TITLES[self.number]}"]
        head = "  ".join(f"{label:>5}" for label in LABELS)
        for title, rows in self._blocks():
            parts.append(f"\n{'':<{wide}}{title[0]:<19}    paper, {title[1]}\n{'':<{wide}}{head}    {head}")
            for label, *both in rows:
                cells = "    ".join("  ".join(f"{cell:>5}" for cell in side) for side in both)
                parts.append(f"{label:<{wide}}{cells}")
        return "\n".join(parts)

    def markdown(self) -> str:
        """The table for a document."""
        parts = [f"# Table {self.number}. {TITLES[self.number]}"]
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
