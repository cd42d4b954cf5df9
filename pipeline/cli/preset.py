"""Write a preset into params.yaml: `python -m pipeline.cli.preset NAME`."""

from io import BytesIO
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from pipeline.cli.sections import SECTIONS
from pipeline.runtime import entrypoint, params
from pipeline.runtime.files import write_file

PRESETS = Path("presets")

COMMENT_COLUMN = 26
"""Where comments beside options begin in params.yaml."""


class PresetError(ValueError):
    """A preset that does not exist."""


def apply_preset(preset: Path, file: Path) -> None:
    """Set every option in `file` to its default, then to the value in `preset`. Comments and `storage` stay.

    The result does not depend on the options that were set before. Raises PresetError where there is no such preset,
    ParamsError where a value is not valid; `file` is then unchanged.
    """
    if not preset.is_file():
        known = ", ".join(sorted(path.stem for path in preset.parent.glob("*.yaml"))) or "none"
        raise PresetError(f"there is no preset {preset} (presets: {known})")
    yaml = _make_yaml()
    content, overlay = yaml.load(file.read_text()), yaml.load(preset.read_text())
    for name, kind in SECTIONS.items():
        chosen = overlay.pop(name, {})
        params.parse_section(_to_plain(chosen), name, kind, preset)
        content[name] = _set_options(content.get(name) or CommentedMap(), kind, chosen)
    for name, value in overlay.items():
        _replace(content, name, value)
    written = BytesIO()
    yaml.dump(content, written)
    write_file(file, written.getvalue())


def _make_yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 120
    yaml.representer.add_representer(
        type(None), lambda made, _: made.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return yaml


def _set_options(section: CommentedMap, kind: type[BaseModel], chosen: CommentedMap) -> CommentedMap:
    """The options that the section shows, and those of the preset, which come before the last one: the comment below a
    section belongs to its last option."""
    defaults = kind().model_dump()
    for name in [name for name in section if name not in defaults]:
        del section[name]
    for name in section:
        value = chosen.get(name, defaults[name])
        if section[name] != value:
            section[name] = value
    for name in [name for name in chosen if name not in section]:
        section.insert(max(len(section) - 1, 0), name, chosen[name])
    for tokens in section.ca.items.values():
        if (token := tokens[2]) and token.value.startswith("#"):
            token.column = COMMENT_COLUMN
    return section


def _replace(content: CommentedMap, name: str, value: Any) -> None:
    """Replace a value; the comment below the old one stays."""
    old = content.get(name)
    content[name] = value
    if isinstance(old, CommentedMap) and isinstance(value, CommentedMap) and old and value:
        value.ca.items.pop(next(reversed(value)), None)
        if below := old.ca.items.get(next(reversed(old))):
            value.ca.items[next(reversed(value))] = below


def _to_plain(value: Any) -> Any:
    """YAML nodes as Python values."""
    if isinstance(value, dict):
        return {key: _to_plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_to_plain(one) for one in value]
    return float(value) if isinstance(value, float) else value


def main(name: str) -> None:
    """Set params.yaml to the preset presets/NAME.yaml."""
    apply_preset(PRESETS / f"{name}.yaml", params.PARAMS_FILE)
    print(f"params.yaml holds preset {name}: check its roots and files, then run `dvc repro`")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    entrypoint.run_app(app, "preset")
