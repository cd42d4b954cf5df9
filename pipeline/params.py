"""params.yaml, typed: the only reader of that file."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError

FILE = Path("params.yaml")

DatasetName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class ParamsError(ValueError):
    """A value in params.yaml that cannot be used; the message names the field and what stands there."""


class Section(BaseModel):
    """A frozen section of params.yaml that refuses unknown keys and silent conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


S = TypeVar("S")


def load(section: str, kind: type[S], file: Path = FILE) -> S:
    """The section or value at a dotted path (e.g. `sism`, `datasets.train`, `model.size`) as `kind`.

    Raises ParamsError where the file, the section or a field is missing, unknown or of another type.
    """
    value = _find(read(file), section, file)
    empty = value is None and isinstance(kind, type) and issubclass(kind, BaseModel)
    return parse({} if empty else value, section, kind, file)


def parse(value: Any, section: str, kind: type[S], file: Path = FILE) -> S:
    """`value` as `kind`; the error names each wrong field by its place in `file`."""
    try:
        return TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        raise ParamsError("\n".join(_sentences(error, section, file))) from None


def read(file: Path = FILE) -> dict[str, Any]:
    """The whole file. Raises ParamsError where it is not there or holds no sections."""
    if not file.is_file():
        raise ParamsError(f"there is no {file} in {Path.cwd()}: run from the repository's root")
    try:
        content = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise ParamsError(f"{file} is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise ParamsError(f"{file}: expected sections, got {type(content).__name__}")
    return content


def _find(content: dict[str, Any], section: str, file: Path) -> Any:
    place: Any = content
    for depth, key in enumerate(parts := section.split("."), start=1):
        if not isinstance(place, dict) or key not in place:
            known = ", ".join(map(str, place)) if isinstance(place, dict) else "nothing"
            raise ParamsError(f"{file}: there is no section `{'.'.join(parts[:depth])}` (there: {known})")
        place = place[key]
    return place


def _sentences(error: ValidationError, section: str, file: Path) -> list[str]:
    lines = []
    for problem in error.errors():
        field = ".".join([section, *map(str, problem["loc"])])
        if problem["type"] == "extra_forbidden":
            lines.append(f"{file}: unknown key `{field}`")
        elif problem["type"] == "missing":
            lines.append(f"{file}: `{field}` is missing")
        else:
            lines.append(f"{file}: `{field}`: {problem['msg'].lower()}, got {problem['input']!r}")
    return lines
