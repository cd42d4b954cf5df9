import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import processes
from icnet import checkpoint, images
from icnet.config import Config
from icnet.model import ICNet
from pipeline import tables
from pipeline.predict.config import PredictConfig
from pipeline.predict.inputs import ReadSamples, make_batches
from pipeline.predict.maps import MapsJob, find_empty_groups
from pipeline.predict.plan import name_subgroups, plan_maps
from pipeline.predict.stage import predict_maps
from pipeline.runtime.stream import RayExecutor
from pipeline.runtime.threads import ThreadExecutor, ThreadPool
from tests.helpers import checkpoints, photographs

SIDE = 64
SIZES = {"apple": 5, "bear": 1, "chair": 13, "door": 2}
CONFIG = PredictConfig(shard_size=20, batch_size=4)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return checkpoints.save_small(tmp_path_factory.mktemp("model"), SIDE)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return photographs.samples(tmp_path_factory.mktemp("samples") / "samples", SIZES, SIDE)


@pytest.fixture(scope="module")
def made(samples, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    predict(samples, model, folder)
    return folder / "maps"


def predict(samples, model, folder, num_threads=2, **changed):
    """Predict in this process; `test_maps_are_the_same_bytes_on_ray` compares it with Ray."""
    config = PredictConfig(**{**CONFIG.model_dump(), **changed})
    with ThreadPool(num_threads) as pool:
        MapsJob(samples, model, folder / "maps", folder / "work", config).run(ThreadExecutor(pool))
    return tables.read_table(folder / "maps").to_pylist()


def decode_maps(rows):
    return [images.decode_gray(row["map"]).astype(int) for row in rows]


def largest_difference(rows, others):
    """The largest difference in gray levels between the maps of the same images."""
    assert [(row["group"], row["name"]) for row in rows] == [(row["group"], row["name"]) for row in others]
    return max(np.abs(a - b).max() for a, b in zip(decode_maps(rows), decode_maps(others), strict=True))


def test_each_image_gets_a_map_at_its_original_size(samples, model, made):
    rows, inputs = tables.read_table(made).to_pylist(), tables.read_table(samples).to_pylist()
    assert len(rows) == sum(SIZES.values())
    network = checkpoint.load(model)
    group = [row for row in inputs if row["group"] == "apple"]
    with torch.no_grad():
        maps = network(
            images.normalize(np.stack([images.decode(row["image"]) for row in group])),
            images.scale_maps(np.stack([images.decode_gray(row["sism"]) for row in group])),
        )
    for row, sample, map_ in zip(rows, group, maps[:, 0].numpy(), strict=False):
        expected = images.resize(images.quantize(map_), (sample["height"], sample["width"]))
        assert np.abs(images.decode_gray(row["map"]).astype(int) - expected).max() <= 1


def test_each_map_has_scores(made):
    for row in tables.read_table(made).to_pylist():
        assert 0 <= row["area"] <= 1
        assert 0 <= row["agreement"] <= 1
        assert row["weight"] > 0
    chairs = [row["weight"] for row in tables.read_table(made).to_pylist() if row["group"] == "chair"]
    assert np.mean(chairs) == pytest.approx(1, abs=1e-4)


def test_a_group_of_one_gets_a_map(made):
    row = next(row for row in tables.read_table(made).to_pylist() if row["group"] == "bear")
    assert row["weight"] == pytest.approx(1)
    assert images.decode_gray(row["map"]).shape == (SIDE, SIDE + 9)


def test_a_group_in_several_shards_gets_the_maps_of_one_shard(samples, model, made, tmp_path):
    rows = predict(samples, model, tmp_path, shard_size=4)
    assert len(tables.load_manifest(tmp_path / "maps")["shards"]) > len(tables.load_manifest(made)["shards"])
    assert largest_difference(rows, tables.read_table(made).to_pylist()) <= 1
    assert not (tmp_path / "work").exists()
    for row, other in zip(rows, tables.read_table(made).to_pylist(), strict=True):
        assert row["weight"] == pytest.approx(other["weight"], abs=1e-4)


def test_a_sample_of_a_large_group_is_evenly_spaced(samples):
    read = ReadSamples(str(samples), max_images=4)({"start": 6, "stop": 19})["payload"]
    assert [row["name"] for row in pickle.loads(read)[0]] == ["0000", "0004", "0008", "0012"]


def test_the_number_of_threads_does_not_change_the_bytes(samples, model, made, tmp_path):
    predict(samples, model, tmp_path, num_threads=3)
    assert photographs.files(tmp_path / "maps") == photographs.files(made)


def test_maps_are_the_same_bytes_on_ray(samples, model, ray_session, tmp_path):
    config = PredictConfig(shard_size=6, batch_size=4, num_actors=2)
    predict_maps(samples, model, tmp_path / "ray" / "maps", tmp_path / "ray" / "work", config)
    predict(samples, model, tmp_path / "threads", shard_size=6)
    assert photographs.files(tmp_path / "ray" / "maps") == photographs.files(tmp_path / "threads" / "maps")


class FinishingApart(RayExecutor):
    """Writes maps in CPU tasks, as where actors have GPUs."""

    def plan_actors(self, *wanted, **memory):
        return replace(super().plan_actors(*wanted, **memory), finishes_apart=True)


@pytest.mark.slow
def test_maps_that_are_written_apart_from_the_network_are_the_same_bytes(samples, model, ray_session, tmp_path):
    config = PredictConfig(shard_size=6, batch_size=4, num_actors=1)
    MapsJob(samples, model, tmp_path / "apart" / "maps", tmp_path / "apart" / "work", config).run(FinishingApart())
    predict(samples, model, tmp_path / "threads", shard_size=6)
    assert photographs.files(tmp_path / "apart" / "maps") == photographs.files(tmp_path / "threads" / "maps")


def test_a_second_look_over_several_shards_gives_the_maps_of_one_shard(samples, tmp_path):
    torch.manual_seed(4)
    file = tmp_path / "model.safetensors"
    checkpoint.save(ICNet(Config(size=SIDE, width=0.125, init="he", looks=2)), file)
    whole = predict(samples, file, tmp_path / "whole")
    spread = predict(samples, file, tmp_path / "spread", shard_size=4)
    assert largest_difference(spread, whole) <= 1


@pytest.mark.parametrize("shard_size", [20, 4])
def test_a_model_can_be_told_how_often_to_look(samples, tmp_path, shard_size):
    network = {"size": SIDE, "width": 0.125, "init": "he"}
    once, twice = tmp_path / "once.safetensors", tmp_path / "twice.safetensors"
    for file, looks in ((once, 1), (twice, 2)):
        torch.manual_seed(4)
        checkpoint.save(ICNet(Config(**network, looks=looks)), file)
    own = predict(samples, twice, tmp_path / "maps", shard_size=shard_size)
    told = predict(samples, twice, tmp_path / "maps", shard_size=shard_size, looks=1)
    assert tables.load_manifest(tmp_path / "maps" / "maps")["looks"] == 1
    expected = predict(samples, once, tmp_path / "expected", shard_size=shard_size)
    assert largest_difference(told, expected) == 0 and largest_difference(own, expected) > 0


def test_the_batch_size_changes_maps_by_rounding_only(samples, model, made, tmp_path):
    assert (
        largest_difference(predict(samples, model, tmp_path, batch_size=64), tables.read_table(made).to_pylist()) <= 1
    )


def test_small_groups_share_a_batch(samples):
    rows = ReadSamples(str(samples))({"start": 0, "stop": 21})["payload"]
    batches = make_batches(pickle.loads(rows)[0], 8, torch.device("cpu"))
    assert [batch.sizes for batch in batches] == [[5, 1], [13], [2]]


def test_subgroups_are_predicted_independently_of_each_other(samples, model, made, tmp_path):
    rows = predict(samples, model, tmp_path, subgroup_size=4)
    network, inputs = checkpoint.load(model), tables.read_table(samples).to_pylist()
    last = [place for place, row in enumerate(inputs) if row["group"] == "chair"][8:12]
    with torch.no_grad():
        maps = network(
            images.normalize(np.stack([images.decode(inputs[place]["image"]) for place in last])),
            images.scale_maps(np.stack([images.decode_gray(inputs[place]["sism"]) for place in last])),
        )
    for place, map_ in zip(last, maps[:, 0].numpy(), strict=True):
        expected = images.resize(images.quantize(map_), (inputs[place]["height"], inputs[place]["width"]))
        assert np.abs(images.decode_gray(rows[place]["map"]).astype(int) - expected).max() <= 1
    assert largest_difference(rows, tables.read_table(made).to_pylist()) > 1
    assert tables.load_manifest(tmp_path / "maps")["subgroup_size"] == 4


def test_a_subgroup_may_be_larger_than_a_shard(samples, model, made, tmp_path):
    assert name_subgroups(["a", "a", "a", "b"], 2) == ["a/0", "a/0", "a/1", "b/0"]
    whole = predict(samples, model, tmp_path / "whole", subgroup_size=9)
    assert largest_difference(predict(samples, model, tmp_path / "pieces", subgroup_size=9, shard_size=4), whole) <= 1


def test_a_second_run_predicts_nothing(samples, model, made):
    job = MapsJob(samples, model, made, made.parent / "work", CONFIG)
    with ThreadPool(1) as pool:
        assert job.run(ThreadExecutor(pool)).predicted == 0


def test_other_weights_and_other_samples_make_other_shards(samples, tmp_path):
    plan = plan_maps(samples, CONFIG, "a")
    other = photographs.samples(tmp_path / "samples", SIZES, SIDE, seed=1)
    keys = {shard.key for shard in plan}
    assert not keys & {shard.key for shard in plan_maps(samples, CONFIG, "b")}
    assert len(tables.read_table(other)) == len(tables.read_table(samples))
    assert not keys & {shard.key for shard in plan_maps(other, CONFIG, "a")}


def test_a_group_with_nearly_empty_sisms_is_reported(samples, model, tmp_path):
    table = tables.read_table(samples)
    dark = images.encode(np.zeros((SIDE, SIDE), np.uint8))
    sisms = [
        dark if group == "door" else sism
        for group, sism in zip(*table.select(["group", "sism"]).to_pydict().values(), strict=True)
    ]
    position = table.schema.get_field_index("sism")
    tables.write_table(tmp_path / "samples", table.set_column(position, table.schema.field("sism"), [sisms]), [])
    rows = predict(tmp_path / "samples", model, tmp_path)
    assert all(np.isfinite(row["weight"]) for row in rows)
    assert find_empty_groups(tmp_path / "maps") == ["door"]


def test_a_rate_needs_more_shards_than_processes(made):
    with pytest.raises(SystemExit, match="too few shards for 3 processes, 2: take more images"):
        processes.measure_steady_rate(made, 3)


@pytest.mark.slow
def test_a_group_of_3000_is_predicted_in_the_memory_of_a_group_of_300(model, root, tmp_path):
    peaks = []
    for size in (300, 3000):
        samples = photographs.samples(tmp_path / f"samples{size}", {"crowd": size}, SIDE)
        code = (
            "from pathlib import Path; from pipeline.predict.config import PredictConfig; "
            "from pipeline.predict.stage import predict_maps; "
            f"predict_maps(Path({str(samples)!r}), Path({str(model)!r}), Path({str(tmp_path / f'maps{size}')!r}), "
            f"Path({str(tmp_path / 'work')!r}), PredictConfig(shard_size=100, num_actors=2))"
        )
        peaks.append(processes.run_code_with_memory(code)[1])
        assert len(tables.read_table(tmp_path / f"maps{size}")) == size
    assert peaks[1] < 1.25 * peaks[0]
