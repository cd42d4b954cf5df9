"""A Git and DVC repository whose pipeline is one quick stage that invents scores."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

STAGE = """
stages:
  evaluate:
    foreach: ${benchmarks}
    do:
      cmd: python score.py ${item}
      params: [train, model, sism, predict]
      deps: [score.py, pipeline]
      metrics:
        - results/${item}/metrics.json:
            cache: false
        - results/${item}/field.json:
            cache: false
"""
PARAMS = """
datasets:
  toys: {root: ../outside/toys}
benchmarks: [toys]   # the reader's comment
model: {size: 96}
train: {dataset: toys, epochs: 3, batch_size: 10, lr: 0.1}
sism: {method: gc}
predict: {}
evaluate: {}
"""
SCORE = """
import json, os, sys, time
from pathlib import Path
import yaml

params = yaml.safe_load(Path("params.yaml").read_text())
assert [file.name for file in Path(params["datasets"]["toys"]["root"]).iterdir()] == ["one.txt"]
with Path(os.environ["COUNT"]).open("a") as file:
    print(os.environ["DVC_EXP_NAME"], file=file)
time.sleep(float(os.environ.get("SLEEP", 0)))
value = params["model"].get("features", "scf") == "scf", params["train"]["batch_size"] / 100
scores = {"max_f": value[0] / 2, "s": value[1], "mae": 0.25}
sism = {**scores, "max_f": 0.25 if params["sism"]["method"] == "gc" else 0.125}
folder = Path("results") / sys.argv[1]
folder.mkdir(parents=True, exist_ok=True)
(folder / "metrics.json").write_text(json.dumps({"icnet": scores, "sism": sism, "images": 1}))
stretched = {"icnet": {**scores, "mae": 0.0625}, "sism": {**sism, "mae": 0.0625}, "images": 1}
(folder / "field.json").write_text(json.dumps(stretched))
"""


def run(folder: Path, *command: str) -> str:
    """Run a command in a folder; gives its output."""
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def create(parent: Path) -> Path:
    """Create the repository `parent`/repository, and its collection outside of it."""
    folder = parent / "repository"
    (folder / "pipeline").mkdir(parents=True)
    (parent / "outside" / "toys").mkdir(parents=True)
    (parent / "outside" / "toys" / "one.txt").write_text("1")
    files = {"dvc.yaml": STAGE, "params.yaml": PARAMS, "score.py": SCORE, "pipeline/code.py": ""}
    for name, text in {**files, ".gitignore": "/data/\n/mlflow.db*\n"}.items():
        (folder / name).write_text(text)
    run(folder, "git", "init", "-q")
    run(folder, "git", "config", "user.name", "A Name")
    run(folder, "git", "config", "user.email", "a@name.org")
    run(folder, sys.executable, "-m", "dvc", "init", "-q")
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc" / "config")
    run(folder, "git", "add", ".")
    run(folder, "git", "commit", "-qm", "first")
    return folder


def list_runs(repository: Path) -> list[str]:
    """The experiments whose stage ran, in order."""
    file = repository.parent / "count.txt"
    return file.read_text().split() if file.is_file() else []


def read_state(repository: Path) -> tuple[dict[str, bytes], list[str], str]:
    """What must not change in the workspace: the files that Git does not ignore, their status, and the commit."""
    files = run(repository, "git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    own = {file: (repository / file).read_bytes() for file in files if not file.startswith("results/tables/")}
    status = run(repository, "git", "status", "--porcelain").splitlines()
    return own, [line for line in status if "results" not in line], run(repository, "git", "rev-parse", "HEAD")


def list_experiments(repository: Path) -> set[str]:
    """The names of the DVC experiments."""
    return set(run(repository, "git", "for-each-ref", "--format=%(refname:lstrip=4)", "refs/exps").split())
