"""The page in a real browser: Debian's chromium, without a display."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html import unescape

import numpy as np
import pytest
from PIL import Image

from pipeline.cli.gallery import make_gallery
from pipeline.evaluate.config import EvaluateConfig
from pipeline.evaluate.page import render_page
from pipeline.evaluate.stage import score_dataset
from pipeline.gallery.errors import COLORS, MISSED, WRONG
from tests.helpers import benchmark
from tests.helpers.galleries import HOSTILE, write_tables

pytestmark = pytest.mark.slow

FOLDER_NAMES = [name for name in HOSTILE if "/" not in name]

SCRIPT = """
{
const report = { violations: 0 };
document.addEventListener("securitypolicyviolation", () => { report.violations += 1; });
const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const strength = () => getComputedStyle(document.documentElement).getPropertyValue("--strength").trim();
const isShown = (selector) => document.querySelector(selector).getClientRects().length > 0;
const layer = document.querySelector(".card .layer");
layer.style.transition = "none";
const cards = [...document.querySelectorAll(".card")];
window.addEventListener("load", async () => {
  report.overlay = [isShown(".card .sism"), getComputedStyle(layer).opacity];
  const slider = document.querySelector("#strength");
  slider.value = 30;
  slider.dispatchEvent(new Event("input"));
  report.slider = getComputedStyle(layer).opacity;
  press("t");
  report.off = strength();
  press("T");
  report.on = strength();
  press("ArrowRight");
  press("ArrowRight");
  report.focus = cards.indexOf(document.activeElement.closest(".card"));
  press("2");
  report.side = [isShown(".card .sism"), isShown(".card .map")];
  press("3");
  report.cutout = [isShown(".card .sism"), getComputedStyle(layer).mixBlendMode];
  document.activeElement.click();
  report.viewer = document.querySelectorAll("dialog[open] .large .pane").length;
  press("ArrowRight");
  report.where = document.querySelector(".where").textContent;
  const closed = new Promise((done) => document.querySelector("dialog").addEventListener("close", done));
  document.querySelector("dialog .close").click();
  await closed;
  report.closed = [isShown("dialog"), cards.indexOf(document.activeElement.closest(".card"))];
  const images = [...document.images];
  images.forEach((image) => { image.loading = "eager"; });
  press("2");
  await Promise.all(images.map((image) => image.decode().catch(() => null)));
  report.broken = images.filter((image) => !image.naturalWidth).map((image) => image.src);
  report.images = images.length;
  report.hacked = window.hacked ?? null;
  report.groups = [...document.querySelectorAll("h2")].map((heading) => heading.textContent);
  report.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const result = document.createElement("output");
  result.textContent = JSON.stringify(report);
  document.body.append(result);
});
}
"""


@pytest.fixture(scope="module")
def chromium():
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    return program


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page of groups with hostile names, and beside it test.html, the same page with SCRIPT."""
    folder = tmp_path_factory.mktemp("page <1> #2")
    make_gallery(write_tables(folder, dict.fromkeys(sorted(HOSTILE), 2), saliency=0.01), folder / "out")
    text = (folder / "out" / "index.html").read_text()
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    text = text.replace("script-src ", f"script-src 'sha256-{digest}' ")
    (folder / "out" / "test.html").write_text(text.replace("</body>", f"<script>{SCRIPT}</script></body>"))
    return folder / "out" / "index.html"


def run_chromium(program, file, folder, *options):
    command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += ["--virtual-time-budget=10000", f"--user-data-dir={folder / 'profile'}", *options, file.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.parametrize("size", ["1300,900", "500,900"])
def test_views_strength_keys_and_viewer_work(chromium, page, tmp_path, size):
    dom = run_chromium(chromium, page.with_name("test.html"), tmp_path, "--dump-dom", f"--window-size={size}")
    report = json.loads(unescape(re.search(r"<output>(.*?)</output>", dom, re.DOTALL)[1]))
    groups = sorted(HOSTILE)
    assert report == {
        "violations": 0,
        "overlay": [False, "0.6"],
        "slider": "0.3",
        "off": "0",
        "on": "0.3",
        "focus": 1,
        "side": [True, True],
        "cutout": [False, "screen"],
        "viewer": 4,
        "where": f"{groups[1]} / 0000",
        "closed": [False, 2],
        "broken": [],
        "images": 4 * 2 * len(groups) + 6,
        "hacked": None,
        "groups": groups,
        "overflow": 0,
    }


def test_the_page_follows_the_color_scheme_and_shows_photographs(chromium, page, tmp_path):
    for scheme, expected in (("1", 250), ("0", 19)):
        file = tmp_path / f"{scheme}.png"
        options = (f"--screenshot={file}", "--window-size=1000,900", f"--blink-settings=preferredColorScheme={scheme}")
        run_chromium(chromium, page, tmp_path, *options)
        with Image.open(file) as picture:
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        assert pixels[2, 2, 0] == expected
        pink = (pixels[..., 0] - pixels[..., 1] > 60) & (pixels[..., 2] - pixels[..., 1] > 30)
        assert pink.mean() > 0.05


ERRORS_SCRIPT = """
{
const isShown = (selector) => document.querySelector(selector).getClientRects().length > 0;
const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const report = { violations: 0 };
document.addEventListener("securitypolicyviolation", () => { report.violations += 1; });
window.addEventListener("load", async () => {
  report.side = [".sism", ".map", ".mask", ".errors", ".errors-layer"].map((one) => isShown(`.card ${one}`));
  press("4");
  report.errors = [".layer", ".mask", ".errors-layer"].map((one) => isShown(`.card ${one}`));
  press("2");
  document.querySelector(".card button").click();
  report.viewer = document.querySelectorAll("dialog[open] .large .pane").length;
  const images = [...document.images];
  images.forEach((image) => { image.loading = "eager"; });
  await Promise.all(images.map((image) => image.decode().catch(() => null)));
  report.broken = images.filter((image) => !image.naturalWidth).length;
  report.hacked = window.hacked ?? null;
  report.groups = [...document.querySelectorAll("h2")].map((heading) => heading.textContent).sort();
  report.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const result = document.createElement("output");
  result.textContent = JSON.stringify(report);
  document.body.append(result);
});
}
"""


@pytest.fixture(scope="module")
def scored_page(tmp_path_factory):
    """The page of a benchmark whose groups have hostile names, and beside it test.html, the same with ERRORS_SCRIPT."""
    folder = tmp_path_factory.mktemp("scored <1> #2")
    inputs = benchmark.write(folder / "small", dict.fromkeys(sorted(FOLDER_NAMES), 3))
    found = score_dataset(inputs, EvaluateConfig(resamples=10, num_panels=0))
    text = render_page(inputs, found, 10).decode()
    (folder / "index.html").write_text(text)
    digest = base64.b64encode(hashlib.sha256(ERRORS_SCRIPT.encode()).digest()).decode()
    text = text.replace("script-src ", f"script-src 'sha256-{digest}' ")
    (folder / "test.html").write_text(text.replace("</body>", f"<script>{ERRORS_SCRIPT}</script></body>"))
    return folder / "index.html"


@pytest.mark.parametrize("size", ["1300,900", "500,900"])
def test_errors_are_shown_beside_and_over_photographs(chromium, scored_page, tmp_path, size):
    dom = run_chromium(chromium, scored_page.with_name("test.html"), tmp_path, "--dump-dom", f"--window-size={size}")
    assert json.loads(unescape(re.search(r"<output>(.*?)</output>", dom, re.DOTALL)[1])) == {
        "violations": 0,
        "side": [True, True, True, True, False],
        "errors": [False, False, True],
        "viewer": 6,
        "broken": 0,
        "hacked": None,
        "groups": sorted(FOLDER_NAMES),
        "overflow": 0,
    }


def test_errors_have_the_colors_of_the_legend_on_the_screen(chromium, scored_page, tmp_path):
    file = tmp_path / "page.png"
    run_chromium(chromium, scored_page, tmp_path, f"--screenshot={file}", "--window-size=1300,1500")
    with Image.open(file) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    for kind in (MISSED, WRONG):
        assert (pixels == COLORS[kind]).all(axis=-1).sum() > 1000
