"""A table of the paper with our figures: as data, text and Markdown."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.metrics.records import HEADLINE
from pipeline.metrics.score import FIELD, PAPER
from pipeline.papertables import later
from pipeline.papertables.figures import BENCHMARKS, LATER, TITLES, match_benchmark, select_figures
from pipeline.papertables.rows import Row

LABELS = ("max F", "S", "MAE")

KEYS = HEADLINE, tuple(f"paper_{name}" for name in HEADLINE)


@dataclass(frozen=True)
class Table:
    """A table of the paper for our benchmarks.

    `found`: the experiment of each named row, and its figures as {benchmark: {method: {metric: value}}}.
    """

    number: int
    rows: list[Row]
    found: dict[str, tuple[str, dict[str, Any]]]
    benchmarks: list[str]

    def frame(self) -> pd.DataFrame:
        """Our figures and the paper's, one row for each row of the table and each benchmark."""
        rows = []
        for benchmark in self.benchmarks:
            other = match_benchmark(benchmark, self._known)
            for row in self.rows:
                experiment, scores = self.found.get(row.name or "", (None, {}))
                ours = scores.get(benchmark, {}).get(row.method, {})
                printed = select_figures(row.printed, other, self._known) or (None,) * len(HEADLINE)
                figures = {"table": self.number, "benchmark": benchmark, "line": row.label, "experiment": experiment}
                figures |= {name: ours.get(name) for name in HEADLINE}
                figures |= {"convention": FIELD if self.number == LATER else PAPER}
                figures |= {"paper_benchmark": self._known[other]}
                figures |= {f"paper_{name}": value for name, value in zip(HEADLINE, printed, strict=True)}
                rows.append(figures | {"source": row.source})
        return pd.DataFrame(rows)

    @property
    def _known(self) -> dict[str, str]:
        return later.BENCHMARKS if self.number == LATER else BENCHMARKS

    @property
    def _title(self) -> str:
        sizes = "the masks' size, stretched maps" if self.number == LATER else "the samples' size, maps as they are"
        return f"Table {self.number}. {TITLES[self.number]} ({sizes})"

    def render(self, form: str) -> str:
        """The table as `text`, `csv` or `latex`."""
        return {"text": self.text, "csv": self.csv, "latex": self.latex}[form]()

    def csv(self) -> str:
        """The table for other programs: a row for each line and benchmark, with convention and source."""
        return self.frame().to_csv(index=False).rstrip("\n")

    def latex(self) -> str:
        """The table for a paper. It needs the package booktabs. A comment names the source of each printed row."""
        parts = [f"% {self._title}"]
        parts += [f"% {row.label}: {row.source}" for row in self.rows if row.source]
        for benchmark, other, cells in self._benchmark_frames():
            heads = " & ".join(label.replace("max F", "$F_{\\max}$") for label in LABELS)
            groups = f"\\multicolumn{{3}}{{c}}{{{_escape(benchmark)}}} & \\multicolumn{{3}}{{c}}{{published, {other}}}"
            lines = ["\\begin{tabular}{lcccccc}", "\\toprule", f" & {groups} \\\\", f" & {heads} & {heads} \\\\"]
            lines.append("\\midrule")
            for label, *row in cells.itertuples():
                lines.append(" & ".join([_escape(label), *row]) + " \\\\")
            parts.append("\n".join([*lines, "\\bottomrule", "\\end{tabular}"]))
        return "\n".join(parts)

    def text(self) -> str:
        """The table for a terminal."""
        parts = [self._title]
        for benchmark, other, cells in self._benchmark_frames():
            heads = pd.MultiIndex.from_product([[benchmark, f"paper, {other}"], LABELS])
            parts.append(cells.set_axis(heads, axis="columns").rename_axis(None).to_string())
        return "\n\n".join(parts)

    def markdown(self) -> str:
        """The table for a document."""
        parts = [f"# {self._title}"]
        for benchmark, other, cells in self._benchmark_frames():
            heads = [*LABELS, *(f"paper {label}" for label in LABELS)]
            lines = ["| | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
            lines += ["| " + " | ".join([label, *row]) + " |" for label, *row in cells.itertuples()]
            parts.append(f"{benchmark}, and the paper's figures on {other}\n\n" + "\n".join(lines))
        return "\n\n".join(parts) + "\n"

    def _benchmark_frames(self) -> Iterator[tuple[str, str, pd.DataFrame]]:
        """Each benchmark, the paper's benchmark next to it, and the formatted figures by row."""
        for benchmark, part in self.frame().groupby("benchmark", sort=False):
            figures = part.set_index("line")[[*KEYS[0], *KEYS[1]]].astype(float)
            cells = figures.map(lambda value: "-" if pd.isna(value) else f"{value:.3f}")
            yield str(benchmark), part["paper_benchmark"].iloc[0], cells


def _escape(text: str) -> str:
    """Text for LaTeX."""
    return "".join(f"\\{one}" if one in "&%$#_{}" else one for one in text)
