"""Stage sism on a local Ray: what it writes, and what it keeps."""

import shutil

import numpy as np
import pyarrow as pa
import pytest

from icnet import images, sod
from pipeline import tables
from pipeline.runtime import params
from pipeline.runtime.stream import RayExecutor, StreamError
from pipeline.sism.config import SampleSize, SismConfig
from pipeline.sism.samples import estimate_memory, plan_samples
from pipeline.sism.stage import make_samples
from tests.helpers import photographs

SIZE = 32
CONFIG = SismConfig(method="gc", shard_size=4, batch_size=2)


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sism")
    root = photographs.write(folder / "photos", {"apple": 3, "bear": 6, "chair": 2, "door": 1})
    return root, photographs.index(root, folder / "index")


@pytest.fixture(scope="module")
def made(collection, tmp_path_factory, ray_session):
    samples = tmp_path_factory.mktemp("samples") / "samples"
    make_samples(collection[1], samples, CONFIG, SIZE)
    return samples


def test_every_image_becomes_a_sample_beside_its_sism(collection, made):
    root, index = collection
    listed = tables.read_table(index).to_pylist()
    rows = tables.read_table(made).to_pylist()
    assert [(row["group"], row["name"]) for row in rows] == [(row["group"], row["name"]) for row in listed]
    method = sod.make_method("gc")
    for row, origin in zip(rows[:4], listed[:4], strict=True):
        data = (root / origin["image"]).read_bytes()
        picture = images.decode(data)
        small = images.resize(images.quantize(method(picture)), (SIZE, SIZE))
        mask = images.decode_mask((root / origin["mask"]).read_bytes())
        assert np.array_equal(images.decode(row["image"]), images.resize(picture, (SIZE, SIZE)))
        assert np.array_equal(images.decode_gray(row["sism"]), small)
        assert np.array_equal(images.decode_gray(row["mask"]), images.resize(mask, (SIZE, SIZE)))
        assert (row["height"], row["width"]) == (origin["height"], origin["width"])
        assert row["digest"] == origin["image_digest"] == tables.digest_file(data)


def test_the_table_is_the_same_for_any_number_of_actors(collection, made, tmp_path):
    make_samples(collection[1], tmp_path, CONFIG.model_copy(update={"num_actors": 1}), SIZE)
    assert photographs.files(tmp_path) == photographs.files(made)


def test_a_second_run_makes_nothing_and_changes_nothing(collection, made, capsys):
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in made.glob("shard-*")}
    make_samples(collection[1], made, CONFIG, SIZE)
    assert "0 made now" in capsys.readouterr().out
    assert {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in made.glob("shard-*")} == before


def test_a_changed_image_remakes_its_shard_alone(collection, made, tmp_path):
    root, samples = tmp_path / "photos", tmp_path / "samples"
    shutil.copytree(collection[0], root)
    shutil.copytree(made, samples)
    kept = photographs.files(samples)
    index = photographs.index(collection[0], tmp_path / "index")
    make_samples(index, samples, CONFIG, SIZE)
    assert photographs.files(samples) == kept
    picture, _ = photographs.photograph(99, 48, 64)
    (root / "images" / "door" / "0000.png").write_bytes(images.encode(picture))
    make_samples(photographs.index(root, tmp_path / "index"), samples, CONFIG, SIZE)
    changed = {name for name, data in photographs.files(samples).items() if data != kept[name]}
    shards = [name for name in changed if name.startswith("shard")]
    assert len(shards) == 1
    row = tables.read_table(samples).to_pylist()[-1]
    assert np.array_equal(images.decode(row["image"]), images.resize(picture, (SIZE, SIZE)))


def test_another_method_or_size_changes_every_key(collection, made):
    table = tables.read_table(collection[1])
    plans = [
        plan_samples(table, CONFIG, SIZE, "gc/1"),
        plan_samples(table, CONFIG, SIZE, "gc/2"),
        plan_samples(table, CONFIG, 2 * SIZE, "gc/1"),
    ]
    keys = [{shard.key for shard in plan} for plan in plans]
    assert not keys[0] & keys[1]
    assert not keys[0] & keys[2]


def test_large_images_make_smaller_shards(collection):
    table = tables.read_table(collection[1])
    pixels = int(table["height"][0].as_py()) * int(table["width"][0].as_py())
    shards = plan_samples(table, CONFIG.model_copy(update={"shard_megapixels": 2.5 * pixels / 1e6}), SIZE, "gc")
    assert max(map(len, shards)) == 2
    assert sum(map(len, shards)) == len(table)


def test_more_gpus_than_the_cluster_has_are_an_error(collection, ray_session, tmp_path):
    with pytest.raises(RuntimeError, match="the cluster has 0 GPUs"):
        make_samples(collection[1], tmp_path, CONFIG.model_copy(update={"gpus_per_actor": 1.0}), SIZE)


def test_a_file_changed_after_indexing_ends_the_stage_with_one_sentence(collection, ray_session, tmp_path):
    root = tmp_path / "photos"
    shutil.copytree(collection[0], root)
    index = photographs.index(root, tmp_path / "index")
    file = root / "masks" / "bear" / "0003.png"
    file.write_bytes((root / "masks" / "bear" / "0004.png").read_bytes())
    with pytest.raises(
        StreamError, match=r"bear/0003\.png changed after it was indexed: run stage index again"
    ) as caught:
        make_samples(index, tmp_path / "samples", CONFIG, SIZE)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "samples" / tables.MANIFEST_FILE).exists()


def test_there_are_only_as_many_actors_as_fit_into_memory(ray_session):
    executor = RayExecutor()
    assert executor.plan_actors(None, None, wants_gpu=False, memory=1).count >= 1
    assert executor.plan_actors(8, None, wants_gpu=False, memory=1).count == 8
    assert executor.plan_actors(8, None, wants_gpu=False, memory=1 << 60).count == 1


def test_full_size_global_contrast_asks_for_more_memory_than_the_default(collection):
    table = tables.read_table(collection[1])
    row = {**table.slice(0, 1).to_pylist()[0], "height": 3000, "width": 4000}
    index = pa.Table.from_pylist([row], schema=tables.INDEX)
    shards = plan_samples(index, CONFIG, SIZE, "gc")
    assert estimate_memory(index, shards, "gc") < 1e9 < 4e9 < estimate_memory(index, shards, "gc?longest=0")


@pytest.mark.parametrize("model", ["model: {}", "model:", "model: {width: 0.25}"])
def test_the_size_is_the_networks_default_where_params_give_none(tmp_path, model):
    (tmp_path / "params.yaml").write_text(model + "\n")
    assert params.load_section("model", SampleSize, tmp_path / "params.yaml").size == 224


def test_old_names_of_options_are_accepted_with_a_warning(tmp_path, capsys):
    (tmp_path / "params.yaml").write_text("sism: {shard: 4, batch: 2, actors: 3, gpus: 0.5, megapixels: 9}\n")
    config = params.load_section("sism", SismConfig, tmp_path / "params.yaml")
    expected = SismConfig(shard_size=4, batch_size=2, num_actors=3, gpus_per_actor=0.5, shard_megapixels=9)
    assert config == expected
    assert "`sism.shard` is now `sism.shard_size`" in capsys.readouterr().err
