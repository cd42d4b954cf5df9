"""The rules of the house that no linter knows: one name everywhere, dvc.yaml covers the code, files stay small."""

import ast
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
SLOW_IMPORTS = {"icnet.pretrained"}
"""Modules that import torchvision late, as most runs have no use for it."""
STAGES = ["demo", "index", "sism", "group", "train", "predict", "evaluate", "register"]
MODULES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for package in ("icnet", "pipeline")
    for file in sorted((ROOT / package).rglob("*.py"))
}


def first_party(module: str) -> set[str]:
    """First-party modules that a module imports or names anywhere, and the packages that importing them runs."""
    named = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            named |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):  # modules of SOD methods
            named.add(node.value)
    named &= set(MODULES)
    return named | {name.rsplit(".", depth)[0] for name in named for depth in range(1, name.count(".") + 1)}


def reached(module: str) -> set[str]:
    """Every first-party module that running `module` imports, directly or not."""
    seen, todo = set(), [module]
    while todo:
        if (current := todo.pop()) not in seen:
            seen.add(current)
            if current != "icnet":  # the package's front door names the network, which such a stage never calls
                todo += first_party(current)
    return seen


def stages() -> dict[str, dict]:
    content = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    return {name: stage.get("do", stage) for name, stage in content.items()}


def test_a_stage_is_one_name_everywhere():
    assert list(stages()) == STAGES
    sections = yaml.safe_load((ROOT / "params.yaml").read_text())
    for stage in STAGES:
        for file in ("__main__.py", "config.py", "stage.py"):
            assert (ROOT / "pipeline" / stage / file).is_file()
        assert list((ROOT / "tests" / "pipeline" / stage).glob("test_*.py"))
        assert stage in sections
        assert f"python -m pipeline.{stage} " in stages()[stage]["cmd"]


def test_no_file_lies_directly_in_pipeline():
    assert [file.name for file in (ROOT / "pipeline").glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("stage", STAGES)
def test_the_map_names_every_folder_that_a_stage_reaches(stage):
    deps = [str(dep) for dep in stages()[stage].get("deps", [])]
    for module in reached(f"pipeline.{stage}.stage"):
        file = MODULES[module].relative_to(ROOT).as_posix()
        if file in ("icnet/__init__.py", "pipeline/__init__.py"):  # they hold a docstring and names
            continue
        covered = any(file == dep or file.startswith(f"{dep}/") for dep in deps)
        assert covered, f"dvc.yaml: stage {stage} runs {file} without naming its folder in deps"


def test_folders_that_the_map_names_exist_and_are_used():
    for name, stage in stages().items():
        used = {MODULES[module].relative_to(ROOT).as_posix() for module in reached(f"pipeline.{name}.stage")}
        for dep in map(str, stage.get("deps", [])):
            if dep.split("/")[0] in ("icnet", "pipeline"):
                assert (ROOT / dep).exists(), f"dvc.yaml: stage {name} depends on {dep}, which is not there"
                assert any(file == dep or file.startswith(f"{dep}/") for file in used), (
                    f"dvc.yaml: stage {name} never runs {dep}"
                )


def test_nothing_is_imported_late_or_for_types_alone():
    """A late import hides a circle; libraries may be imported late, our own modules not.

    The command line is the exception: nothing imports it, so it hides no circle, and `cosal --help` would otherwise
    import all libraries of all commands.
    """
    for module, file in MODULES.items():
        tree = ast.parse(file.read_text())
        assert "TYPE_CHECKING" not in file.read_text(), module
        if module.startswith("pipeline.cli.") or module in SLOW_IMPORTS:
            continue
        late = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node not in tree.body]
        assert not [node.module for node in late if (node.module or "").split(".")[0] in ("icnet", "pipeline")], module


def test_the_project_speaks_of_itself_alone():
    place = re.compile(r"(^|[^A-Za-z0-9_.$}])/(work|tmp|root)/", re.MULTILINE)
    for file in [*MODULES.values(), ROOT / "README.md", ROOT / "dvc.yaml", ROOT / "params.yaml", ROOT / "Makefile"]:
        assert not place.search(file.read_text()), file


def test_no_file_outgrows_its_noun():
    for module, file in MODULES.items():
        assert len(file.read_text().splitlines()) <= 300, module
