"""params.yaml, typed: the only reader of that file."""

import re
import sys
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

PARAMS_FILE = Path("params.yaml")


MAX_INTEGER = 2**31 - 1
"""Largest number that a field may hold: no count, size or seed is above it."""

MAX_NODES = 100_000
"""Values in a file, those behind aliases counted each time. A file with more of them is an attack or an accident."""

MAX_SHOWN = 80
"""Characters of a wrong value that an error message shows."""


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-05 is a number, as `dvc exp run -S` writes it, and a key may stand only once in a section."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for number, key in enumerate(keys):
            if key in keys[:number]:
                raise yaml.YAMLError(f"line {node.value[number][0].start_mark.line + 1}: `{key}` is there twice")
        return super().construct_mapping(node, deep)


_EXPONENT = re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))


class ParamsError(ValueError):
    """A value in params.yaml that cannot be used; the message names the field and what stands there."""


class Section(BaseModel):
    """A frozen section of params.yaml that refuses unknown keys and silent conversions.

    `renamed`: old names of fields and the field that each is now. `renamed_values`: the same for the values of a field.
    params.yaml may still use the old ones: they are accepted with a warning.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    renamed: ClassVar[dict[str, str]] = {}
    renamed_values: ClassVar[dict[str, dict[str, str]]] = {}


S = TypeVar("S")


def load_section(section: str, kind: type[S], file: Path = PARAMS_FILE) -> S:
    """The section or value at a dotted path (e.g. `sism`, `datasets.train`, `model.size`) as `kind`.

    Raises ParamsError where the file, the section or a field is missing, unknown or of another type.
    """
    content = _find_section(read_params(file), section, file)
    empty = content is None and isinstance(kind, type) and issubclass(kind, BaseModel)
    return parse_section({} if empty else content, section, kind, file)


def parse_section(content: Any, section: str, kind: type[S], file: Path = PARAMS_FILE) -> S:
    """`content` as `kind`, old names translated; the error names each wrong field by its place in `file`."""
    if isinstance(content, dict) and isinstance(kind, type) and issubclass(kind, Section):
        content = _translate_values(_translate_names(content, section, kind, file), section, kind, file)
    if large := _find_large_number(content, section):
        raise ParamsError(f"{file}: `{large}`: numbers above {MAX_INTEGER} are not accepted")
    try:
        return TypeAdapter(kind).validate_python(content, strict=True)
    except ValidationError as error:
        raise ParamsError("\n".join(_describe_errors(error, section, file))) from None


def _translate_names(content: dict[str, Any], section: str, kind: type[Section], file: Path) -> dict[str, Any]:
    """`content` with the new names of its fields. Raises ParamsError where the old and the new name are both there."""
    content = dict(content)
    for old, new in kind.renamed.items():
        if old not in content:
            continue
        if new in content:
            raise ParamsError(f"{file}: `{section}.{old}` is the old name of `{section}.{new}`: keep only the new one")
        _warn(f"{file}: `{section}.{old}` is now `{section}.{new}`: please rename it")
        content[new] = content.pop(old)
    return content


def _translate_values(content: dict[str, Any], section: str, kind: type[Section], file: Path) -> dict[str, Any]:
    content = dict(content)
    for name, renamed in kind.renamed_values.items():
        old = content.get(name)
        if isinstance(old, str) and old in renamed:
            _warn(f"{file}: `{section}.{name}: {old}` is now `{renamed[old]}`: please rename it")
            content[name] = renamed[old]
    return content


def _find_large_number(content: Any, path: str) -> str | None:
    """The dotted path of a whole number whose size is above MAX_INTEGER."""
    if isinstance(content, int):
        return path if abs(content) > MAX_INTEGER else None
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return next((found for key, value in items if (found := _find_large_number(value, f"{path}.{key}"))), None)


def _warn(sentence: str) -> None:
    print(f"warning: {sentence}", file=sys.stderr, flush=True)


def read_params(file: Path = PARAMS_FILE) -> dict[str, Any]:
    """The whole file. Raises ParamsError if it is missing, cannot be read, or holds no sections."""
    if not file.is_file():
        raise ParamsError(f"there is no {file} in {Path.cwd()}: run from the root of the repository")
    try:
        content = parse_yaml(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ParamsError(f"{file} is not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}") from None
    except (OSError, ValueError) as error:
        raise ParamsError(f"{file}: {error}") from None
    if not isinstance(content, dict):
        raise ParamsError(f"{file}: expected sections, got {type(content).__name__}")
    return content


def parse_yaml(text: str) -> Any:
    """The content of a YAML text. Raises ParamsError if it is not valid or too large."""
    try:
        node = yaml.compose(text, _Loader)
        if node is not None and _count_nodes(node, {}) > MAX_NODES:
            raise ParamsError(f"it holds more than {MAX_NODES} values, counting aliases each time")
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, RecursionError, TypeError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise ParamsError(f"it is not valid YAML: {reason}") from None


def _count_nodes(node: yaml.Node, counts: dict[int, int]) -> int:
    """Values below a node. An alias is a node with several parents: it is counted for each, but visited once."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in counts:
        counts[id(node)] = MAX_NODES + 1  # found again while it is visited: an alias of itself
        children = [child for pair in node.value for child in (pair if isinstance(pair, tuple) else (pair,))]
        counts[id(node)] = 1 + sum(_count_nodes(child, counts) for child in children)
    return counts[id(node)]


def _find_section(content: dict[str, Any], section: str, file: Path) -> Any:
    place: Any = content
    for depth, key in enumerate(parts := section.split("."), start=1):
        if not isinstance(place, dict) or key not in place:
            known = ", ".join(map(str, place)) if isinstance(place, dict) else "nothing"
            raise ParamsError(f"{file}: there is no section `{'.'.join(parts[:depth])}` (there: {known})")
        place = place[key]
    return place


def _describe_errors(error: ValidationError, section: str, file: Path) -> list[str]:
    lines = []
    for problem in error.errors():
        field = ".".join([section, *map(str, problem["loc"])])
        if problem["type"] == "extra_forbidden":
            lines.append(f"{file}: unknown key `{field}`")
        elif problem["type"] == "missing":
            lines.append(f"{file}: `{field}` is missing")
        else:
            shown = repr(problem["input"])
            shown = shown if len(shown) <= MAX_SHOWN else f"{shown[:MAX_SHOWN]} ..."
            lines.append(f"{file}: `{field}`: {problem['msg'].lower()}, got {shown}")
    return lines
