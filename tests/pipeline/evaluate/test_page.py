"""The page of stage evaluate: what it shows, how large it may be, and that it is one file in MLflow."""

import re
from base64 import b64decode
from dataclasses import replace
from io import BytesIO

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from icnet import images
from pipeline import tables, tracking
from pipeline.evaluate import page
from pipeline.evaluate.config import EvaluateConfig
from pipeline.evaluate.page import render_page
from pipeline.evaluate.stage import evaluate_dataset, score_dataset
from pipeline.gallery.errors import COLORS, UNLABELED
from tests.helpers import benchmark
from tests.helpers.galleries import HOSTILE, PageParser

CONFIG = EvaluateConfig(resamples=20, num_panels=0)
SIZES = {"apple": 4, "bear": 1, "chair": 6, "door": 3, "egg": 2}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return benchmark.write(tmp_path_factory.mktemp("small"), SIZES)


@pytest.fixture(scope="module")
def found(small):
    return score_dataset(small, CONFIG)


def render(inputs, found, num_groups):
    return render_page(inputs, found, num_groups).decode()


def list_groups(text):
    return re.findall(r"<h2><bdi>(.*?)</bdi></h2>", text)


def order_groups(found):
    values = found.sums["icnet", "resized"].by_group()
    return sorted(values, key=lambda group: (values[group]["max_f"], group))


def test_the_worst_groups_come_first_and_the_worst_photographs_of_each(small, found):
    text = render(small, found, 10)
    assert list_groups(text) == order_groups(found) and "all groups by max F" in text
    for part in text.split("<h2>")[1:]:
        scores = [float(value) for value in re.findall(r'class="caption">max F ([\d.]+)', part)]
        assert scores and scores == sorted(scores)


def test_only_the_worst_and_the_best_groups_are_shown_and_the_page_says_so(small, found):
    text, order = render(small, found, 1), order_groups(found)
    assert list_groups(text) == [order[0], order[-1]]
    assert "the 1 worst and the 1 best of 5 groups by max F" in text
    assert list_groups(render(small, found, 0)) == []


def test_photographs_of_a_large_group_are_left_out_and_counted(small, found, monkeypatch):
    monkeypatch.setattr(page, "MAX_PICTURES_OF_GROUP", 2)
    text = render(small, found, 10)
    assert text.count('<figure class="card"') == 2 * 4 + 1
    assert "; 2 of 6 photographs" in text and "at most 2 photographs of each" in text


def test_the_page_keeps_below_its_largest_size(small, found, monkeypatch):
    whole = len(render(small, found, 10))
    monkeypatch.setattr(page, "MAX_PAGE_BYTES", 1)
    text = render(small, found, 10)
    assert len(text) < whole and text.count('<figure class="card"') == len(SIZES)
    assert "; 1 of 6 photographs" in text


def test_the_page_is_one_file_without_links_to_others(small, found):
    parser = PageParser(render(small, found, 10))
    assert all(url.startswith(("data:image/", "#")) or url == "data:," for url in parser.urls)
    assert parser.tags.count("img") == 7 * sum(SIZES.values()) and not parser.events


def test_hostile_names_are_text(tmp_path):
    names = [name for name in sorted(HOSTILE) if "/" not in name]
    inputs = benchmark.write(tmp_path / "hostile", dict.fromkeys(names, 1))
    inputs = replace(inputs, dataset=names[0])
    parser = PageParser(render(inputs, score_dataset(inputs, CONFIG), 10))
    assert parser.tags.count("script") == 1 and not parser.events
    assert parser.tags.count("img") == 7 * len(names)


def test_void_pixels_are_no_errors(tmp_path):
    inputs = benchmark.write(tmp_path / "small", {"apple": 1})
    row = tables.read_table(inputs.index).to_pylist()[0]
    void = images.encode(np.full((row["height"], row["width"]), 255, np.uint8))
    (inputs.root / "void.png").write_bytes(void)
    row |= {"void": "void.png", "void_digest": tables.digest_file(void)}
    tables.write_table(inputs.index, pa.Table.from_pylist([row], schema=tables.INDEX), [], root=str(inputs.root))
    text = render(inputs, score_dataset(inputs, CONFIG), 10)
    content = re.search(r'class="pane errors".*?base64,(.*?)"', text)[1]
    with Image.open(BytesIO(b64decode(content))) as picture:
        assert (np.asarray(picture.convert("RGB")) == COLORS[UNLABELED]).all()


def test_without_masks_maps_are_shown_without_errors(tmp_path):
    inputs = benchmark.write(tmp_path / "plain", {"apple": 2, "bear": 3}, labelled=False)
    text = render(inputs, score_dataset(inputs, CONFIG), 10)
    assert list_groups(text) == ["apple", "bear"] and "nothing was scored" in text
    assert 'id="view-errors"' not in text


def test_what_has_no_score_is_listed(small, found):
    absent = [{"method": "icnet", "group": "apple", "name": "0009", "reason": "has no co-saliency map"}]
    text = render(small, replace(found, absent=absent), 1)
    assert "apple/0009" in text and "icnet: has no co-saliency map" in text


def test_the_run_of_the_training_gets_the_page(small, tmp_path):
    with tracking.start_run("training") as run:
        pass
    inputs = replace(small, model=benchmark.model(tmp_path / "model", run_id=run.id))
    evaluate_dataset(inputs, tmp_path / "out", CONFIG)
    logged = run.fetch_file("small/index.html", tmp_path / "back")
    assert logged.read_bytes() == (tmp_path / "out" / "index.html").read_bytes()
    assert "<h2><bdi>apple</bdi></h2>" in logged.read_text()
