"""The pages hold what they promise: links, commands and options exist, and the examples run."""

import re
import sys
import textwrap
import types
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
import yaml

from icnet import backbones, sod
from icnet.config import Config
from icnet.model import ICNet
from pipeline import tables
from pipeline.cli.app import app
from pipeline.cli.sections import SECTIONS
from pipeline.index import layouts
from pipeline.index.config import IndexConfig
from pipeline.index.stage import index_collection
from tests.helpers import photographs

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "weights" / "README.md"])
OLD_NAMES = ["pipeline.verify", "pipeline/verify", "cues.py", "knob", "pascal_coseg.yaml", "train.rate", "predict.cut"]


def name_page(page):
    """The path of a page, for the name of a test."""
    return page.relative_to(ROOT).as_posix()


def examples(page):
    """The Python blocks of a page."""
    return [textwrap.dedent(block) for block in re.findall(r"```python\n(.*?)\n *```", page.read_text(), re.DOTALL)]


def run(text, name="example"):
    module = types.ModuleType(name)
    exec(compile(text, name, "exec"), vars(module))
    return module


@pytest.mark.parametrize("page", PAGES, ids=name_page)
def test_links_lead_to_files_and_headings(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        file, _, heading = target.partition("#")
        place = page.parent / file if file else page
        assert place.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", place.read_text(), re.MULTILINE)
            assert heading in [title.lower().replace(" ", "-") for title in titles], target


@pytest.mark.parametrize("page", PAGES, ids=name_page)
def test_commands_exist(page):
    text = page.read_text()
    targets = set(re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split())
    assert set(re.findall(r"(?:^|`)make ([a-z][a-z0-9-]*)", text, re.MULTILINE)) <= targets
    known = set(typer.main.get_command(app).commands)
    assert set(re.findall(r"(?:^|`)cosal ([a-z]+)", text, re.MULTILINE)) <= known
    for module in re.findall(r"python -m ((?:pipeline|benchmarks)[\w.]*\w)", text):
        assert find_spec(module), module


@pytest.mark.parametrize("page", PAGES, ids=name_page)
def test_options_exist(page):
    if page.name == "CHANGELOG.md":  # it names old options
        return
    pattern = rf"[`\s]({'|'.join(SECTIONS)})\.(?!safetensors|html)([a-z_]+)"
    for section, option in re.findall(pattern, page.read_text()):
        assert option in SECTIONS[section].model_fields, f"{section}.{option}"


@pytest.mark.parametrize("page", PAGES, ids=name_page)
def test_yaml_examples_can_be_read(page):
    for block in re.findall(r"```yaml\n(.*?)\n *```", page.read_text(), re.DOTALL):
        found = yaml.safe_load(re.sub(r"^sism: .*\n(?=sism: )", "", block, flags=re.MULTILINE))
        assert isinstance(found, dict), block


@pytest.mark.parametrize("page", PAGES, ids=name_page)
def test_no_page_uses_a_name_that_is_gone(page):
    if page.name != "CHANGELOG.md":
        assert not [name for name in OLD_NAMES if name in page.read_text()]


def test_the_training_example_runs(capsys):
    (example,) = examples(ROOT / "docs" / "training.md")
    run(example)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[:2] for line in lines] == [["1", "1"], ["1", "2"], ["2", "1"], ["2", "2"]]
    assert all(np.isfinite(float(line[2])) for line in lines)


def test_the_example_of_a_sod_method_works(monkeypatch):
    method, check, *_ = examples(ROOT / "CONTRIBUTING.md")
    monkeypatch.setitem(sys.modules, "center", run(method, "center"))
    assert '"center": "icnet.sod.center"' in (ROOT / "CONTRIBUTING.md").read_text()
    monkeypatch.setitem(sod.METHODS, "center", "center")
    for name, function in vars(run(check)).items():
        if name.startswith("test_"):
            function()
    with pytest.raises(sod.SodError, match="spread"):
        sod.make_method("center?spread=-1")


def test_the_example_of_a_backbone_works(monkeypatch):
    *_, backbone, check = examples(ROOT / "CONTRIBUTING.md")
    monkeypatch.setitem(backbones.BACKBONES, "resnet18", run(backbone, "resnet18").ResNet18)
    run(check).test_a_group_gets_maps()
    model = ICNet(Config(backbone="resnet18", size=64))
    state = {name: torch.ones_like(tensor) for name, tensor in model.backbone.pretrained.state_dict().items()}
    model.backbone.fill_pretrained(state)
    assert all((tensor == 1).all() for tensor in model.backbone.pretrained.state_dict().values())


def test_the_example_of_a_layout_works(monkeypatch, tmp_path):
    root = photographs.write(tmp_path / "pets", {"cats": 2})
    (root / "images").rename(root / "Photos")
    (root / "masks").rename(root / "labels")
    (entry,) = re.findall(r'`"pets": (.*?),` to `PUBLISHED`', (ROOT / "CONTRIBUTING.md").read_text())
    monkeypatch.setitem(layouts.PUBLISHED, "pets", eval(entry))
    index_collection(root, tmp_path / "index", layouts.Dataset(root=str(root), layout="pets"), IndexConfig())
    rows = tables.read_table(tmp_path / "index").to_pylist()
    assert [(row["group"], row["mask"] is not None) for row in rows] == [("cats", True)] * 2
