"""Write docs/params.md, every option of params.yaml: `python -m pipeline.cli.params_page`."""

from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.cli.sections import SECTIONS
from pipeline.index.layouts import Dataset

PAGE = Path("docs/params.md")

INTRODUCTION = """\
# Options

Every option of `params.yaml`, by section. `make docs` writes this page from the code: do not edit it.

An option that is not in `params.yaml` has its default. An unknown option or a value outside its range stops the stage
with one sentence. Try a value without editing the file: `dvc exp run -S train.epochs=30`. An option that the file does
not show needs two plus signs: `dvc exp run -S ++train.loss=combined`.

## Shared

| option | meaning |
|---|---|
| `datasets` | image collections by name; the options of one are below |
| `benchmarks` | names in `datasets`: predicted and scored |
| `ungrouped` | names in `datasets` that are not sorted: stage `group` finds their groups ([groups.md](groups.md)) |
| `storage` | where samples, embeddings and maps are stored: null is `data/` ([cluster.md](cluster.md), "Storage") |
"""

BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def format_page() -> str:
    """The whole page as Markdown."""
    sections = {"datasets.<name>": Dataset, **SECTIONS}
    return "\n".join([INTRODUCTION, *(_format_section(name, kind) for name, kind in sections.items())])


def _format_section(name: str, kind: type[BaseModel]) -> str:
    rows = [_format_row(option, field) for option, field in kind.model_fields.items()]
    head = ["| option | default | values | meaning |", "|---|---|---|---|"]
    return "\n".join([f"## `{name}`", "", " ".join((kind.__doc__ or "").split()), "", *head, *rows, ""])


def _format_row(option: str, field: FieldInfo) -> str:
    default = "" if field.is_required() else f"`{_format_value(field.get_default(call_default_factory=True))}`"
    values = _format_type(field.annotation, list(field.metadata))
    cells = [f"`{option}`", default, values, " ".join((field.description or "").split())]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _format_type(kind: Any, metadata: list[Any]) -> str:
    """A type and its bounds in words: `number ≥ 0, < 1 or null`."""
    if get_origin(kind) is Annotated:
        kind, *more = get_args(kind)
        return _format_type(kind, [*metadata, *more])
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_format_type(one, metadata) for one in get_args(kind))
    if get_origin(kind) is Literal:
        return ", ".join(f"`{one}`" for one in get_args(kind))
    if get_origin(kind) in (list, tuple):
        return f"list of {_format_type(get_args(kind)[0], [])}s"
    if get_origin(kind) is dict:
        return "texts by name"
    names = {int: "whole number", float: "number", bool: "`true`, `false`", str: "text", NoneType: "`null`"}
    if kind in (int, float):
        return f"{names[kind]} {', '.join(_format_bounds(metadata))}".strip()
    return names.get(kind) or ", ".join(f"`{name}`" for name in getattr(kind, "model_fields", {})) or str(kind)


def _format_bounds(metadata: list[Any]) -> Iterator[str]:
    for one in metadata:
        for name, sign in BOUNDS.items():
            bound = getattr(one, name, None)
            if bound is not None:
                yield f"{sign} {bound:g}"
        yield from _format_bounds(getattr(one, "metadata", None) or [])


def _format_value(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}".replace("e-0", "e-") if isinstance(value, float) else str(value) or '""'


if __name__ == "__main__":
    PAGE.write_text(format_page())
