"""The rules of the house, read from the source and from dvc.yaml."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
STAGES = ["demo", "index", "sism", "train", "predict", "evaluate", "register"]
MODULES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for package in ("icnet", "pipeline")
    for file in sorted((ROOT / package).rglob("*.py"))
}


@cache
def imports(module: str) -> frozenset[str]:
    """Every name that a module imports anywhere, spelt in full."""
    tree, found = ast.parse(MODULES[module].read_text()), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".") if MODULES[module].name == "__init__.py" else module.split(".")[:-1]
            base = (
                ".".join([*package[: len(package) - node.level + 1], node.module or ""]) if node.level else node.module
            )
            base = base.rstrip(".")
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return frozenset(found)


def first_party(module: str) -> set[str]:
    """First-party modules that a module imports, and the packages that importing them runs."""
    named = {name for name in imports(module) if name in MODULES}
    return named | {name.rsplit(".", depth)[0] for name in named for depth in range(1, name.count(".") + 1)}


def reached(module: str) -> set[str]:
    """Every first-party module that running `module` imports, directly or not."""
    seen, todo = set(), [module]
    while todo:
        if (current := todo.pop()) not in seen:
            seen.add(current)
            todo += first_party(current)
    return seen


def stages() -> dict[str, dict]:
    content = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    return {name: stage.get("do", stage) for name, stage in content.items()}


def test_the_stages_are_one_name_everywhere():
    assert list(stages()) == STAGES
    sections = yaml.safe_load((ROOT / "params.yaml").read_text())
    for stage in STAGES:
        assert (ROOT / "pipeline" / f"{stage}.py").is_file()
        assert (ROOT / "tests" / "pipeline" / f"test_{stage}.py").is_file()
        assert stage in sections
        assert f"python -m pipeline.{stage} " in stages()[stage]["cmd"]


@pytest.mark.parametrize("module", sorted(name for name in MODULES if name.startswith("icnet")))
def test_the_paper_does_not_know_the_machinery(module):
    roots = {name.split(".")[0] for name in imports(module)}
    assert not roots & {"pipeline", "ray", "mlflow", "dvc", "tests"}


@pytest.mark.parametrize("stage", STAGES)
def test_stages_never_import_each_other(stage):
    others = {f"pipeline.{other}" for other in STAGES if other != stage}
    assert not reached(f"pipeline.{stage}") & others


def test_only_tracking_imports_mlflow_and_only_params_reads_params_yaml():
    for module, file in MODULES.items():
        if module not in ("pipeline.tracking", "pipeline.registry", "pipeline.serving"):
            assert not {name for name in imports(module) if name.split(".")[0] == "mlflow"}, module
        if module != "pipeline.params":
            assert 'Path("params.yaml")' not in file.read_text(), module


@pytest.mark.parametrize("stage", STAGES)
def test_the_map_names_every_module_that_a_stage_reaches(stage):
    named = [str(dep) for dep in stages()[stage].get("deps", [])]
    for module in reached(f"pipeline.{stage}"):
        file = MODULES[module].relative_to(ROOT).as_posix()
        covered = any(file == dep or file.startswith(f"{dep}/") for dep in named)
        assert covered, f"dvc.yaml: stage {stage} runs {file} without naming it in deps"


def test_modules_the_map_names_exist():
    for name, stage in stages().items():
        for dep in map(str, stage.get("deps", [])):
            if dep.split("/")[0] in ("icnet", "pipeline"):
                assert (ROOT / dep).exists(), f"dvc.yaml: stage {name} depends on {dep}, which is not there"


def test_the_project_speaks_of_itself_alone():
    place = re.compile(r"(^|[^A-Za-z0-9_.$}])/(work|tmp|root)/", re.MULTILINE)
    for file in [*MODULES.values(), ROOT / "README.md", ROOT / "dvc.yaml", ROOT / "params.yaml", ROOT / "Makefile"]:
        assert not place.search(file.read_text()), file


def test_no_file_outgrows_its_noun():
    for module, file in MODULES.items():
        assert len(file.read_text().splitlines()) <= 300, module
