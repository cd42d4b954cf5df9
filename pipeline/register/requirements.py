"""The pinned packages that the registered model needs.

MLflow's `infer_pip_requirements` was tried. It takes a minute, because it starts an interpreter that loads the model.
Its result is wrong for this model: it misses torch, which the packaged code imports, and it lists this project.
"""

import ast
import sys
from importlib import metadata
from pathlib import Path

import icnet

SERVING_FILE = Path(__file__).with_name("serving.py")

OPTIONAL = {"onnxruntime": "onnx"}
"""Packages that only one kind of SOD method needs."""


def list_requirements(kind: str) -> list[str]:
    """What the packaged code imports, pinned to the installed versions. `kind`: that of the SOD method inside."""
    files = [SERVING_FILE, *Path(icnet.__file__).parent.rglob("*.py")]
    names = {name for file in files for name in _find_imports(ast.parse(file.read_text()))}
    names -= {"icnet", *sys.stdlib_module_names}
    names -= {name for name, needed_by in OPTIONAL.items() if needed_by != kind}
    owners = metadata.packages_distributions()
    packages = {name if name in owners[name] else owners[name][0] for name in names if name in owners}
    return sorted(f"{package}=={metadata.version(package).partition('+')[0]}" for package in packages)


def _find_imports(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found
