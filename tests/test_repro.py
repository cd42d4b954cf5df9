"""The whole pipeline, small, by `dvc repro` in a copy of the repository."""

import compileall
import re
import shutil
from pathlib import Path

import pytest

from pipeline import tables
from tests.helpers.checkout import capture_dvc, change_params, clone, run_dvc
from tests.helpers.rows import flip_bit

UP_TO_DATE = "Data and pipelines are up to date."
STAGES = ["demo", "index", "sism", "train", "predict", "evaluate", "register"]

STAGE_LINES = [
    r"Running stage '[a-z]+(@\w+)?':",
    r"> python -m pipeline\.[a-z]+ .*",
    r"(demo|index|sism|predict): \d+ .*",
    r"(index|predict): [\d.]+ .*",
    r"sism:   'images/[\w./-]+': is truncated: its end is missing",
    r"train: \d+ images of \d+ groups on 1 CPU worker; held out for validation: .*",
    r"train: epoch \d+/\d+  loss [\d.]+.*",
    r".+: \d+ of \d+ images, [\d.]+ images/s(, \d+ s left)?",  # every 30 s
    r"train: epoch \d+/\d+  batch \d+ of \d+  loss [\d.]+  .* to go",
    r"train: \d+ epochs? in \d+:\d\d; kept is .*",
    r"train: model and history in data/model, .*",
    r"method +size +convention +max F .*",
    r"(icnet|sism) +(32 px|original) +(paper|field)( +[\d.]+)+",
    r"evaluate: .*",
    r"register: models:/icnet/1 is champion: .*",
    r"register: load it with mlflow\.pyfunc\.load_model\(.*",
]
"""What the stages print in a normal run, and what DVC prints about them."""

DVC_LINES = [
    "Updating lock file 'dvc.lock'",
    "Generating lock file 'dvc.lock'",
    "To track the changes with git, run:",
    r"\tgit add .*",
    "To enable auto staging, run:",
    r"\tdvc config core.autostage true",
    r"Use `dvc push` to send your updates to remote storage\.",
]

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def repository(root, tmp_path_factory):
    """A copy in which the pipeline ran once."""
    folder = clone(root, tmp_path_factory.mktemp("repro") / "checkout")
    change_params(
        folder,
        demo={"categories": 6, "images": 2, "unseen_images": 2},
        model={"size": 32, "width": 0.125},
        train={"epochs": 1, "batch_size": 2, "validate_every": 1},
        evaluate={"resamples": 10, "num_panels": 1},
    )
    output, errors = capture_dvc(folder, "repro")
    assert all(f"Running stage '{stage}" in output for stage in STAGES)
    (folder / "output.txt").write_text(output + errors)
    return folder


def times(folder: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for place in ("data", "results") for file in (folder / place).rglob("*")}


def test_every_line_of_output_is_known(repository):
    """No line of the log of a library is among them."""
    known = re.compile("|".join([*STAGE_LINES, *DVC_LINES]))
    lines = (repository / "output.txt").read_text().split("\n")
    assert [line for line in lines if line.strip() and not known.fullmatch(line.rstrip())] == []


def test_the_second_repro_does_nothing(repository):
    before = times(repository)
    output = run_dvc(repository, "repro")
    assert "Running stage" not in output and UP_TO_DATE in output
    assert times(repository) == before


def test_bytecode_is_not_an_input(repository):
    sources = [repository / "icnet", repository / "pipeline"]
    assert all(compileall.compile_dir(folder, quiet=2, force=True) for folder in sources)
    assert run_dvc(repository, "status").strip() == UP_TO_DATE
    for folder in [path for source in sources for path in source.rglob("__pycache__")]:
        shutil.rmtree(folder)
    assert run_dvc(repository, "status").strip() == UP_TO_DATE


def test_an_edit_of_a_stage_runs_that_stage(repository):
    file = repository / "pipeline" / "register" / "stage.py"
    text = file.read_text()
    file.write_text(text + "# an edit\n")
    try:
        assert "register" in run_dvc(repository, "status")
        output = run_dvc(repository, "repro", "--dry")
        assert "Running stage 'register'" in output and "Running stage 'train'" not in output
    finally:
        file.write_text(text)


def test_a_table_of_version_0_1_is_unfinished_and_made_again(repository):
    """Such a table has a `receipt.json`, and no manifest."""
    table = repository / "data" / "samples" / "demo_unseen"
    before = {file.name: file.read_bytes() for file in table.iterdir()}
    (table / tables.MANIFEST_FILE).rename(table / "receipt.json")
    with pytest.raises(tables.TableError, match="no finished table"):
        tables.load_manifest(table)
    output = run_dvc(repository, "repro", "sism@demo_unseen")
    assert "Running stage 'sism@demo_unseen'" in output
    assert {file.name: file.read_bytes() for file in table.iterdir()} == before
    assert run_dvc(repository, "status").strip() == UP_TO_DATE


@pytest.mark.slow
def test_a_flipped_bit_that_dvc_has_taken_over_is_repaired_as_the_error_says(repository):
    file = repository / "data" / "samples" / "demo_unseen" / "shard-000000.parquet"
    good = file.read_bytes()
    flip_bit(file, 0.5, column="image")  # which stage predict reads
    shutil.rmtree(repository / "data" / "maps" / "demo_unseen")  # finished maps would be kept
    run_dvc(repository, "commit", "--force", "sism@demo_unseen")
    with pytest.raises(AssertionError) as error:
        run_dvc(repository, "repro", "--force", "--single-item", "predict@demo_unseen")
    command = re.search(r"run `dvc (repro -f -s sism@demo_unseen)`", str(error.value))
    assert command, str(error.value)
    run_dvc(repository, *command[1].split())
    assert file.read_bytes() == good
    run_dvc(repository, "checkout", "--force", "data/maps/demo_unseen")
    assert run_dvc(repository, "status").strip() == UP_TO_DATE
