"""The notebook of the documentation runs from its first cell to its last, and shows what its text says."""

import re

import nbformat
import pytest
from nbclient import NotebookClient


@pytest.fixture(scope="module")
def tour(root):
    return nbformat.read(root / "docs" / "tour.ipynb", as_version=4)


def list_outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_readers_see_the_pictures_without_running_it(tour):
    assert sum("image/jpeg" in output.get("data", {}) for output in list_outputs(tour)) == 3


def test_it_runs_and_the_network_is_better_than_its_sisms(root, tour):
    notebook = nbformat.from_dict(tour)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    NotebookClient(notebook, timeout=500, resources={"metadata": {"path": str(root / "docs")}}).execute()
    outputs = list_outputs(notebook)
    assert sum("image/jpeg" in output.get("data", {}) for output in outputs) == 3
    assert not [output for output in outputs if output.get("name") == "stderr"]
    text = "".join(output.get("text", "") for output in outputs)
    weights = {name: float(weight) for name, weight in re.findall(r"(\w+)\.webp +([\d.]+)", text)}
    assert min(weights, key=weights.get) == "hammer1"
    sism, icnet = (float(value) for value in re.findall(r"max F ([\d.]+)", text))
    assert icnet > sism
