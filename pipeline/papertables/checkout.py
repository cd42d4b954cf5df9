"""Run DVC experiments in a second checkout, so that the user's workspace does not change.

The checkout holds the tracked files of the workspace, with uncommitted changes. It uses the same DVC cache and the same
MLflow server. It is kept, so that an interrupted experiment continues. It may be deleted at any time.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icnet.sod.base import Spec
from pipeline import tracking

WORK_FOLDER = Path("data/work/tables")
"""Below the root of the repository. Git and DVC ignore it."""
LOCK = "dvc.lock"
MADE = "data/demo"
"""Paths below it are made by a stage, in every checkout."""


class ExperimentError(RuntimeError):
    """An experiment that cannot run here, or failed."""


@dataclass(frozen=True)
class Checkout:
    """A checkout of the repository `root` in `folder`. `lock`: a file descriptor, which its experiments hold too."""

    root: Path
    folder: Path
    lock: int
    head: str
    state: str
    """The commit of the workspace, and a commit of its tracked files with uncommitted changes."""

    def open(self) -> None:
        """Fill the folder. If it is new, the outputs of the workspace are taken from the cache."""
        ready = self.folder / ".git" / "ready"
        if ready.is_file():
            self.reset()
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self._make()
        self.reset()
        self._dvc("config", "--local", "cache.dir", self._dvc("cache", "dir", cwd=self.root).strip())
        if (self.root / LOCK).is_file():
            shutil.copy(self.root / LOCK, self.folder / LOCK)
            self._dvc("checkout", "--quiet", check=False)
        ready.touch()

    def link_path(self, path: str) -> None:
        """Link a relative path of params.yaml, so that it leads to the same place as in the workspace."""
        source, link = (Path(os.path.normpath(base / path)) for base in (self.root, self.folder))
        if Path(path).is_absolute() or Path(path).is_relative_to(MADE) or link.exists() or not source.exists():
            return
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(source)

    def reset(self) -> None:
        """Set the tracked files to those of the workspace. dvc.lock, which knows the outputs here, stays."""
        lock = self.folder / LOCK
        done = lock.read_bytes() if lock.is_file() else None
        run_git(self.folder, "update-ref", "--no-deref", "HEAD", self.head)
        run_git(self.folder, "read-tree", "--reset", "-u", f"{self.state}^{{tree}}")
        if done is not None:
            lock.write_bytes(done)

    def run(self, name: str, settings: Iterable[str], target: str) -> None:
        """Run the stages up to `target` as the experiment `name`, with `settings` (`key=value`), and copy it to the
        user's repository. Raises ExperimentError if a stage fails."""
        self.reset()
        ref = f"refs/exps/{self.head[:2]}/{self.head[2:]}/{name}"
        if run_git(self.folder, "for-each-ref", ref):
            run_git(self.folder, "update-ref", "-d", ref)
        changes = [part for setting in settings for part in ("-S", f"++{setting.lstrip('+')}")]
        command = [sys.executable, "-m", "dvc", "exp", "run", "--name", name, *changes, target]
        print(f"cosal: dvc {' '.join(command[3:])}, in the checkout {self.folder}", flush=True)
        child = subprocess.Popen(command, cwd=self.folder, env=self._environment(), pass_fds=[self.lock])
        try:
            failed = child.wait()
        except KeyboardInterrupt:
            child.wait()
            raise
        if failed:
            raise ExperimentError(f"experiment {name} failed: run the same command again to continue it")
        if run_git(self.folder, "for-each-ref", ref):
            run_git(self.root, "fetch", "--quiet", "--no-tags", str(self.folder), f"+{ref}:{ref}")

    def _make(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        run_git(self.folder, "init", "--quiet")
        git = Path(run_git(self.root, "rev-parse", "--path-format=absolute", "--git-common-dir"))
        (self.folder / ".git/objects/info/alternates").write_text(f"{git / 'objects'}\n")
        if (git / "shallow").is_file():
            shutil.copy(git / "shallow", self.folder / ".git/shallow")
        for key in ("user.name", "user.email"):
            if value := run_git(self.root, "config", "--default", "", "--get", key):
                run_git(self.folder, "config", key, value)
        if (self.root / ".dvc/config.local").is_file():
            (self.folder / ".dvc").mkdir(exist_ok=True)
            shutil.copy(self.root / ".dvc/config.local", self.folder / ".dvc/config.local")

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        server = tracking.find_server()
        tracking.find_experiment(server)  # created in the checkout, it would store its artifacts there
        return {**os.environ, "PATH": path, "PYTHONPATH": str(self.folder), "MLFLOW_TRACKING_URI": server}

    def _dvc(self, *arguments: str, cwd: Path | None = None, check: bool = True) -> str:
        command = [sys.executable, "-m", "dvc", *arguments]
        done = subprocess.run(command, cwd=cwd or self.folder, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise ExperimentError(f"`dvc {' '.join(arguments)}` failed: {done.stderr.strip()}")
        return done.stdout


@contextmanager
def open_checkout() -> Iterator[Checkout]:
    """The checkout of the repository in the working folder, with its tracked files.

    Raises ExperimentError if another process uses it, or an experiment that a killed process left running.
    """
    root = Path.cwd()
    if not _is_git_root(root):
        raise ExperimentError("DVC experiments need a git checkout: run this command in the root of one")
    (root / WORK_FOLDER).mkdir(parents=True, exist_ok=True)
    with (root / WORK_FOLDER / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ExperimentError("another table is being made: wait for its end, or stop its `dvc exp run`") from None
        folder = root / WORK_FOLDER / "checkout" / root.relative_to(root.anchor)
        head = run_git(root, "rev-parse", "HEAD")
        found = Checkout(root, folder, lock.fileno(), head, run_git(root, "stash", "create") or head)
        found.open()
        yield found


def _is_git_root(folder: Path) -> bool:
    if shutil.which("git") is None:
        return False
    try:
        return run_git(folder, "rev-parse", "--show-cdup") == ""
    except ExperimentError:
        return False


def find_paths(content: Mapping[str, Any]) -> list[str]:
    """The local paths in the content of params.yaml."""
    sections = {name: content.get(name) or {} for name in ("datasets", "sism", "model", "evaluate")}
    paths = [dataset["root"] for dataset in sections["datasets"].values()]
    paths.append(Spec.parse(sections["sism"].get("method", "")).file)
    if sections["model"].get("weights") != "torchvision":
        paths.append(sections["model"].get("weights"))
    for pattern in (sections["evaluate"].get("methods") or {}).values():
        fixed, varies, _ = pattern.partition("{dataset}")
        paths.append(fixed.rpartition("/")[0] if varies else fixed)
    paths.append(content.get("storage"))
    return [path for path in paths if path and "://" not in path]


def format_value(value: Any) -> str:
    """A value as `dvc exp run -S` reads it."""
    if isinstance(value, str):
        return "'" + value.replace("'", "\\'") + "'"
    if isinstance(value, list):
        return f"[{','.join(map(format_value, value))}]"
    return json.dumps(value)


def run_git(folder: Path, *arguments: str) -> str:
    """The output of git in a folder. Raises ExperimentError if it fails."""
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ExperimentError(f"`git {' '.join(arguments)}` failed: {done.stderr.strip()}")
    return done.stdout.strip()
