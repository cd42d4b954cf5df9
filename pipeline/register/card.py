"""The card of a version: what MLflow's UI shows as its description."""

from collections.abc import Mapping
from typing import Any

from pipeline.register.gate import Board

COLUMNS = {"max_f": "max F", "s": "S", "max_e": "max E", "mae": "MAE"}
"""The metrics on a card and their headings."""

MOST_BENCHMARKS = 20
"""Rows of the table; MLflow limits the length of a description."""


def write_card(gate: str, scores: Board, size: str, tags: Mapping[str, Any], address: str) -> str:
    """Markdown: the decision of the gate, scores on the benchmarks, the network, its data, and how to load it.

    `scores` are those at `size`; `tags` are those of the version; `address` is its `models:/` address.
    """
    heading = ["benchmark", "images", "groups", *COLUMNS.values()]
    rows = [heading, ["---"] * len(heading)]
    for benchmark, (found, _) in list(scores.items())[:MOST_BENCHMARKS]:
        metrics = found.overall()
        values = [f"{metrics[name]:.3f}" for name in COLUMNS if metrics]
        rows.append([_escape(benchmark), str(found.images), str(len(found.groups)), *values])
    facts = {
        "Network": f"ICNet on {tags.get('backbone', 'vgg16')}, {tags['size']} px, width {tags['width']}",
        "SISMs": tags["sod"],
        "Trained on": f"{tags['data']} ({tags['data_licence']})",
        "License": tags["licence"],
    }
    lines = [gate, "", f"Scores by the paper's convention, {size} size:", ""]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", *(f"- **{name}**: {_escape(str(value))}" for name, value in facts.items())]
    lines += [f'- **Load it**: `mlflow.pyfunc.load_model("{address}")`']
    return "\n".join(lines)


def _escape(text: str) -> str:
    """Text that is not read as Markdown or HTML."""
    for character in "\\`*_|[]<>#":
        text = text.replace(character, f"\\{character}")
    return text
