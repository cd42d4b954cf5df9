import io
import re

import pandas as pd
import pytest

from icnet.config import Config
from pipeline.metrics.records import ICNET, SISM
from pipeline.papertables import later
from pipeline.papertables.figures import BATCHES, METHODS, SODS, VARIANTS, match_benchmark, select_figures
from pipeline.papertables.report import Table
from pipeline.papertables.rows import list_rows

PARAMS = {"sism": {"method": "gc"}, "evaluate": {"methods": {"GICD": "maps/gicd/{dataset}", "mine": "maps/mine"}}}


def numbers(line):
    return tuple(float(number) for number in re.findall(r"(?<![\d.])0\.\d{3}(?!\d)", line))


@pytest.mark.parametrize(
    ("rows", "count"),
    [(METHODS, 10), (VARIANTS, 7), (BATCHES, 6)],
    ids=["methods", "variants", "batches"],
)
def test_the_figures_are_those_that_the_paper_prints(shared, rows, count):
    found = {}
    for line in (shared / "spec" / "PAPER.txt").read_text().splitlines():
        if len(row := numbers(line)) == 9:
            label = re.sub(r"</?b>|[*${}]", "", line.split("\t")[0].split(" [")[0])
            found[label] = row
    assert len(rows) == count
    for label, printed in rows.items():
        assert found[label if label in found else label.split()[0]] == printed, label


def test_table_3_holds_what_the_paper_prints_of_sod_methods(shared):
    text = (shared / "spec" / "PAPER.txt").read_text().splitlines()
    rows = {line.split(" [")[0]: row for line in text if len(row := numbers(line)) == 18}
    for label, (alone, above) in SODS.items():
        both = [number for place in range(0, 9, 3) for part in (alone, above) for number in part[place : place + 3]]
        assert rows[label] == tuple(both)


def test_table_1_knows_folders_by_their_methods_name():
    lines = {line.label: line for line in list_rows(1, PARAMS)}
    assert lines["GICD"].method == "GICD"
    assert lines["ICNet"].method == ICNET
    assert lines["mine"].printed is None
    assert lines["SISMs (gc)"].method == SISM
    assert {line.name for line in lines.values() if line.method} == {"table-1"}
    assert lines["CBCS"].name is None


def test_table_1_takes_sisms_for_the_method_that_made_them():
    lines = {line.label: line for line in list_rows(1, {"sism": {"method": "egnet:weights.pth"}, "evaluate": None})}
    assert lines["EGNet"].method == SISM
    assert len(lines) == len(METHODS)


def test_table_2_trains_the_seven_variants():
    lines = list_rows(2, {})
    assert len({line.name for line in lines}) == 7
    for number, line in enumerate(lines, start=1):
        chosen = {name.removeprefix("model."): value for name, value in line.settings.items()}
        assert Config(**chosen) == Config.row(number)


def test_table_3_sets_each_sod_method_beside_its_own_line():
    lines = list_rows(3, {}, ["gc", "onnx:u2netp.onnx"])
    ours = [line for line in lines if line.name]
    assert [(line.label, line.method) for line in ours] == [
        ("GC alone", SISM),
        ("GC, ICNet", ICNET),
        ("onnx:u2netp.onnx alone", SISM),
        ("onnx:u2netp.onnx, ICNet", ICNET),
    ]
    assert [line.settings["sism.method"] for line in ours[::2]] == ["gc", "onnx:u2netp.onnx"]
    assert len(lines) == 2 + 2 * len(SODS)


def test_table_4_cuts_groups_in_the_test_alone():
    settings = {line.label: line.settings for line in list_rows(4, {})}
    assert settings["n_train = 15"] == {"train.batch_size": 15}
    assert settings["n_test = 5"] == {"train.batch_size": 10, "predict.subgroup_size": 5}


def test_a_benchmark_that_the_paper_does_not_have_stands_beside_cosal2015():
    assert match_benchmark("iCoSeg") == "icoseg"
    assert match_benchmark("demo_unseen") == "cosal2015"
    assert select_figures(METHODS["ICNet"], "msrc") == (0.869, 0.814, 0.097)


def test_every_later_method_has_nine_figures_and_a_source():
    for label, one in later.METHODS.items():
        assert len(one.figures) == 9 and all(0 < figure < 1 for figure in one.figures), label
        assert one.source
    lines = list_rows(5, {})
    assert [line.label for line in lines[:-2]] == list(later.METHODS) and lines[-1].method == ICNET


def test_a_table_for_a_paper_names_sources_and_conventions():
    ours = {"toys": {"icnet": {"max_f": 0.5, "s": 0.25, "mae": 0.125}}}
    table = Table(5, list_rows(5, {}), {"table-1": ("table-1", ours)}, ["toys"])
    latex = table.render("latex").splitlines()
    assert "% DMT: github.com/dragonlee258079/DMT at d5ee0d7, evaluation/result, CVPR2023_Final_Code" in latex
    assert r"GCoNet & - & - & - & 0.847 & 0.845 & 0.068 \\" in latex
    assert r"ICNet, ours & 0.500 & 0.250 & 0.125 & - & - & - \\" in latex
    assert latex.count(r"\begin{tabular}{lcccccc}") == latex.count(r"\end{tabular}") == 1
    rows = pd.read_csv(io.StringIO(table.render("csv")))
    assert set(rows["convention"]) == {"field"} and rows["source"].notna().sum() == len(later.METHODS)
    paper = Table(1, list_rows(1, PARAMS), {}, ["a_b"])
    assert set(paper.frame()["convention"]) == {"paper"} and r"\_b}" in paper.render("latex")
    assert "maps as they are" in paper.text() and "stretched maps" in table.text()
