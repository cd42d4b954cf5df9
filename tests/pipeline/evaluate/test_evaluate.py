import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from icnet import images
from pipeline import tables, tracking
from pipeline.evaluate.config import EvaluateConfig
from pipeline.evaluate.folders import FolderError, find_maps
from pipeline.evaluate.stage import evaluate_dataset, main, score_dataset
from pipeline.metrics import aggregate, pysod, records, sums
from pipeline.runtime import files, params
from tests.helpers import benchmark, photographs

SIZES = {"apple": 4, "bear": 1, "chair": 6, "door": 3}
CONFIG = EvaluateConfig(resamples=50, num_panels=1)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return benchmark.write(tmp_path_factory.mktemp("small"), SIZES)


@pytest.fixture
def trained(small, tmp_path):
    """The benchmark with a model whose training has a run."""
    with tracking.start_run("training") as run:
        pass
    return replace(small, model=benchmark.model(tmp_path / "model", run_id=run.id)), run


def scored(inputs, **changed):
    return score_dataset(inputs, CONFIG.model_copy(update=changed))


def by_hand(inputs, size):
    """The scores of ICNet's maps, file by file."""
    found = {(row["group"], row["name"]): row["map"] for row in tables.read_table(inputs.maps).to_pylist()}
    pairs = []
    for (group, name), data in found.items():
        mask = images.decode_mask((inputs.root / "masks" / group / f"{name}.png").read_bytes())
        pairs.append(((group, name), pysod.score_map_at(images.decode_gray(data), mask, size=size)))
    return aggregate.Scores.of(pairs).overall()


def test_the_scores_are_those_of_the_maps_at_both_sizes(small):
    sums = scored(small).sums
    side = (benchmark.SIDE, benchmark.SIDE)
    assert sums["icnet", "resized"].overall() == pytest.approx(by_hand(small, side), abs=1e-12)
    assert sums["icnet", "original"].overall() == pytest.approx(by_hand(small, None), abs=1e-12)
    assert sums["icnet", "resized"].overall()["max_f"] > sums["sism", "resized"].overall()["max_f"]


def test_the_scores_do_not_depend_on_the_shard_size(small, ray_session):
    whole, sharded = scored(small).sums, scored(small, shard_size=3).sums
    assert whole.keys() == sharded.keys()
    for row, found in whole.items():
        assert np.array_equal(found.numbers, sharded[row].numbers)
        assert np.array_equal(found.curves, sharded[row].curves)


def test_every_file_is_written_twice_the_same(small, tmp_path):
    for name in ("first", "second"):
        evaluate_dataset(small, tmp_path / name, CONFIG)
    first = photographs.files(tmp_path / "first")
    assert photographs.files(tmp_path / "second") == first
    expected = {f"{name}.csv" for name in ("scores", "groups", "curves", "absent")}
    expected |= {"metrics.json", "original.json", "field.json", "groups.parquet", "images.parquet", "manifest.json"}
    expected.add("index.html")
    assert expected | {f"panels/{name}.png" for name in ("overview", "worst-1", "best-1")} == set(first)


def test_metrics_hold_icnet_and_its_sisms_side_by_side(small, tmp_path):
    evaluate_dataset(small, tmp_path / "out", CONFIG)
    for name in ("metrics.json", "original.json", "field.json"):
        content = json.loads((tmp_path / "out" / name).read_text())
        assert content["images"] == sum(SIZES.values()) and content["absent"] == 0
        assert all(set(content[method]) == set(records.HEADLINE) for method in ("icnet", "sism"))
    groups = pd.read_csv(tmp_path / "out" / "groups.csv")
    assert len(groups) == len(SIZES) * 6
    curves = pd.read_csv(tmp_path / "out" / "curves.csv")
    assert len(curves) == 2 * 256 and set(curves["method"]) == {"icnet", "sism"}


def test_every_row_says_its_size_and_its_convention(small, tmp_path):
    evaluate_dataset(small, tmp_path / "out", CONFIG)
    for frame in (pd.read_csv(tmp_path / "out" / "scores.csv"), pd.read_parquet(tmp_path / "out" / "images.parquet")):
        ways = frame[["method", "size", "convention"]].drop_duplicates().itertuples(index=False, name=None)
        sizes = ("resized", "paper"), ("original", "paper"), ("original", "field")
        assert set(ways) == {(method, *way) for method in ("icnet", "sism") for way in sizes}


def test_sums_come_back_as_they_were_written(small, tmp_path):
    found = scored(small)
    expected = found.sums
    sums.write_sums(tmp_path / "groups.parquet", expected, "small", found.edition)
    again, edition = sums.read_sums(tmp_path / "groups.parquet")
    assert edition == found.edition and again.keys() == expected.keys()
    for row, one in expected.items():
        assert again[row].overall() == one.overall() and again[row].groups == one.groups


def test_the_run_of_the_training_gets_metrics_tables_sheets_and_the_benchmark(trained, tmp_path):
    inputs, run = trained
    for _ in range(2):
        evaluate_dataset(inputs, tmp_path / "out", CONFIG)
    client = tracking.get_client(run.server)
    found = client.get_run(run.id)
    prefixes = {"metrics.json": "small", "original.json": "small/original", "field.json": "small/field"}
    for name, prefix in prefixes.items():
        for metric, value in json.loads((tmp_path / "out" / name).read_text())["icnet"].items():
            assert found.data.metrics[f"{prefix}/{metric}"] == pytest.approx(value, abs=1e-6)
    assert {"small/sism/s", "small/macro/max_e", "small/curve/precision"} <= set(found.data.metrics)
    assert [one.dataset.name for one in found.inputs.dataset_inputs] == ["small"]
    assert found.info.status == "FINISHED"
    pictured = [file.path for file in client.list_artifacts(run.id, "images") if file.path.endswith(".png")]
    assert len(pictured) == 3
    assert len(client.load_table(found.info.experiment_id, "small/groups.json", [run.id])) == 6 * len(SIZES)
    assert run.fetch_file("small/groups.parquet", tmp_path / "back").is_file()


@pytest.mark.parametrize(
    ("chosen", "name"),
    [({"subgroup_size": 5}, "subgroups of 5"), ({"subgroup_size": 5, "looks": 1}, "subgroups of 5, looks: 1")],
)
def test_scores_of_subgroups_and_of_other_looks_go_to_a_run_of_their_own(trained, tmp_path, chosen, name):
    inputs, run = trained
    inputs = replace(inputs, maps=shutil.copytree(inputs.maps, tmp_path / "subgroups" / "small"))
    manifest = json.loads((inputs.maps / "manifest.json").read_text())
    files.write_json(inputs.maps / "manifest.json", manifest | chosen)
    evaluate_dataset(inputs, tmp_path / "out", CONFIG)
    assert "small/max_f" not in tracking.get_client(run.server).get_run(run.id).data.metrics
    row = tracking.open_method_run(f"ICNet {run.id}, {name}")
    assert "small/max_f" in tracking.get_client(run.server).get_run(row.id).data.metrics


def test_the_scores_of_a_model_from_elsewhere_go_to_a_restored_run(small, tmp_path):
    inputs = replace(small, model=benchmark.model(tmp_path / "model", run_id="a" * 32))
    evaluate_dataset(inputs, tmp_path / "out", CONFIG)
    found = tracking.get_client(tracking.find_server()).get_run(tracking.reopen_run("a" * 32).id)
    assert found.data.tags[tracking.RESTORED] == "a" * 32 and "small/max_f" in found.data.metrics


def test_any_folder_of_maps_is_a_row(small, tmp_path, capsys):
    shutil.copytree(small.root / "masks", tmp_path / "maps" / "small")
    (tmp_path / "maps" / "small" / "apple" / "0000.png").unlink()
    shutil.copy(tmp_path / "maps" / "small" / "bear" / "0000.png", tmp_path / "maps" / "small" / "bear" / "dog.png")
    methods = {"perfect": "maps/{dataset}", "lost": "nowhere/{dataset}"}
    evaluate_dataset(small, tmp_path / "out", CONFIG.model_copy(update={"methods": methods}))
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert content["perfect"]["mae"] < 0.01 and "lost" not in content
    absent = pd.read_csv(tmp_path / "out" / "absent.csv", dtype=str, keep_default_na=False)
    assert absent[["method", "group", "name"]].values.tolist() == [
        ["perfect", "apple", "0000"],
        ["perfect", "bear", "dog"],
        ["lost", "", ""],
    ]
    said = capsys.readouterr().out
    assert "apple/0000" in said and "bear/dog" in said and "nowhere" in said
    metrics = tracking.get_client(tracking.find_server()).get_run(tracking.open_method_run("perfect").id).data.metrics
    assert metrics["small/max_f"] > 0.99


def test_a_method_may_not_take_the_names_of_ours(small):
    with pytest.raises(params.ParamsError, match="icnet"):
        scored(small, methods={"icnet": "maps"})


def change_index(inputs, change):
    """Write the index again with changed rows."""
    rows = [{**row, **change(row)} for row in tables.read_table(inputs.index).to_pylist()]
    tables.write_table(inputs.index, pa.Table.from_pylist(rows, schema=tables.INDEX), [], root=str(inputs.root))


def test_images_that_cannot_be_scored_are_named(tmp_path):
    inputs = benchmark.write(tmp_path / "small", {"apple": 3, "bear": 2})
    rows = tables.read_table(inputs.maps).to_pylist()
    tables.write_table(inputs.maps, pa.Table.from_pylist(rows[1:], schema=tables.MAPS), [])
    (inputs.root / "masks" / "bear" / "0001.png").write_bytes(b"broken")
    broken = {"mask_digest": tables.digest_file(b"broken")}
    change_index(inputs, lambda row: broken if (row["group"], row["name"]) == ("bear", "0001") else {})
    found = scored(inputs)
    assert [(row["method"], row["group"], row["name"]) for row in found.absent] == [
        ("icnet", "apple", "0000"),
        ("all", "bear", "0001"),
    ]
    sums = found.sums
    assert sums["icnet", "resized"].images == 3 and sums["sism", "resized"].images == 4


@pytest.mark.parametrize("shard_size", [64, 2])
def test_masks_that_changed_after_indexing_stop_the_stage(tmp_path, ray_session, shard_size):
    inputs = benchmark.write(tmp_path / "small", {"apple": 3, "bear": 2})
    for row in tables.read_table(inputs.maps).to_pylist():
        (inputs.root / "masks" / row["group"] / f"{row['name']}.png").write_bytes(row["map"])
    with pytest.raises(tables.TableError, match=r"masks/\w+/\d+.png changed after it was indexed: run stage index"):
        scored(inputs, shard_size=shard_size)


def test_a_broken_map_of_another_method_leaves_out_only_that_method(small, tmp_path):
    shutil.copytree(small.root / "masks", tmp_path / "maps")
    (tmp_path / "maps" / "apple" / "0001.png").write_bytes(b"broken")
    found = scored(small, methods={"other": "maps"})
    assert [(row["method"], row["name"]) for row in found.absent] == [("other", "0001")]
    sums = found.sums
    assert sums["icnet", "resized"].images == 14 and sums["other", "resized"].images == 13


def test_a_collection_without_masks_is_predicted_not_scored(tmp_path, capsys):
    inputs = benchmark.write(tmp_path / "plain", {"apple": 2, "bear": 3}, labelled=False)
    evaluate_dataset(inputs, tmp_path / "out", CONFIG)
    assert "predicted, not scored" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == {"images": 0, "absent": 0}
    assert list(pd.read_csv(tmp_path / "out" / "curves.csv").columns)[:2] == ["method", "threshold"]
    assert {file.name for file in (tmp_path / "out" / "panels").iterdir()} == {"overview.png", "group-1.png"}


def test_void_pixels_are_left_out_at_both_sizes(tmp_path):
    inputs = benchmark.write(tmp_path / "small", {"apple": 2})
    rows = tables.read_table(inputs.index).to_pylist()
    (inputs.root / "void" / "apple").mkdir(parents=True)
    for row in rows:
        row["void"] = f"void/apple/{row['name']}.png"
        Image.fromarray(np.full((row["height"], row["width"]), 255, np.uint8)).save(inputs.root / row["void"])
        row["void_digest"] = tables.digest_file((inputs.root / row["void"]).read_bytes())
    tables.write_table(inputs.index, pa.Table.from_pylist(rows, schema=tables.INDEX), [], root=str(inputs.root))
    for found in scored(inputs).sums.values():
        assert found.overall()["mae"] == 0


def test_the_main_reads_its_section(small, tmp_path):
    (tmp_path / "params.yaml").write_text("evaluate: {resamples: 10, num_panels: 0}\n")
    main(small.index, small.samples, small.maps, small.model, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["images"] == 14
    assert [file.name for file in (tmp_path / "out" / "panels").iterdir()] == ["overview.png"]


def test_a_folder_of_maps_prefers_png_and_is_refused_when_empty(tmp_path):
    for name in ("a/1.png", "a/1.jpg", "a/2.jpg", "a/note.txt"):
        (tmp_path / "maps" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "maps" / name).write_bytes(b"")
    found = find_maps(tmp_path / "maps", [("a", "1"), ("b", "1")])
    assert found.files == {("a", "1"): tmp_path / "maps" / "a" / "1.png"}
    assert found.missing == [("b", "1")] and found.extra == [("a", "2")]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FolderError, match="holds no maps"):
        find_maps(tmp_path / "empty")
    with pytest.raises(FolderError, match="there is no folder"):
        find_maps(tmp_path / "nowhere")
