import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from icnet import images, sod
from pipeline import tables
from pipeline.sism.config import SismConfig
from pipeline.sism.samples import plan_samples
from pipeline.sism.stage import make_samples
from tests.helpers import photographs

SIZE = 32
KNOBS = SismConfig(method="gc", shard_size=4, batch_size=2)


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sism")
    root = photographs.write(folder / "photos", {"apple": 3, "bear": 6, "chair": 2, "door": 1})
    return root, photographs.index(root, folder / "index")


@pytest.fixture(scope="module")
def made(collection, tmp_path_factory, ray_session):
    samples = tmp_path_factory.mktemp("samples") / "samples"
    make_samples(collection[1], samples, KNOBS, SIZE)
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
    make_samples(collection[1], tmp_path, KNOBS.model_copy(update={"num_actors": 3}), SIZE)
    assert photographs.files(tmp_path) == photographs.files(made)


def test_a_second_run_makes_nothing_and_changes_nothing(collection, made, capsys):
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in made.glob("shard-*")}
    make_samples(collection[1], made, KNOBS, SIZE)
    assert "0 made now" in capsys.readouterr().out
    assert {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in made.glob("shard-*")} == before


def test_a_changed_image_remakes_its_shard_alone(collection, made, tmp_path):
    root, samples = tmp_path / "photos", tmp_path / "samples"
    shutil.copytree(collection[0], root)
    shutil.copytree(made, samples)
    kept = photographs.files(samples)
    index = photographs.index(collection[0], tmp_path / "index")
    make_samples(index, samples, KNOBS, SIZE)
    assert photographs.files(samples) == kept
    picture, _ = photographs.photograph(99, 48, 64)
    (root / "images" / "door" / "0000.png").write_bytes(images.encode(picture))
    for folder in ("images", "masks"):
        for file in (root / folder).rglob("*.png"):
            origin = collection[0] / file.relative_to(root)
            if file.read_bytes() == origin.read_bytes():
                os.utime(file, ns=(origin.stat().st_atime_ns, origin.stat().st_mtime_ns))
    make_samples(photographs.index(root, tmp_path / "index"), samples, KNOBS, SIZE)
    changed = {name for name, data in photographs.files(samples).items() if data != kept[name]}
    shards = [name for name in changed if name.startswith("shard")]
    assert len(shards) == 1
    row = tables.read_table(samples).to_pylist()[-1]
    assert np.array_equal(images.decode(row["image"]), images.resize(picture, (SIZE, SIZE)))


def test_another_method_or_size_remakes_every_shard(collection, made):
    table = tables.read_table(collection[1])
    plans = [
        plan_samples(table, KNOBS, SIZE, "gc/1"),
        plan_samples(table, KNOBS, SIZE, "gc/2"),
        plan_samples(table, KNOBS, 2 * SIZE, "gc/1"),
    ]
    keys = [{shard.key for shard in plan} for plan in plans]
    assert not keys[0] & keys[1]
    assert not keys[0] & keys[2]


def test_large_images_make_short_shards(collection):
    table = tables.read_table(collection[1])
    pixels = int(table["height"][0].as_py()) * int(table["width"][0].as_py())
    shards = plan_samples(table, KNOBS.model_copy(update={"shard_megapixels": 2.5 * pixels / 1e6}), SIZE, "gc")
    assert max(map(len, shards)) == 2
    assert sum(map(len, shards)) == len(table)


def test_an_image_gone_bad_since_it_was_indexed_is_a_reject_and_the_rest_goes_on(
    collection, ray_session, tmp_path, capsys
):
    root = tmp_path / "photos"
    shutil.copytree(collection[0], root)
    index = photographs.index(root, tmp_path / "index")
    (root / "images" / "apple" / "0001.png").write_bytes(b"")
    (root / "images" / "bear" / "0002.png").unlink()
    (root / "masks" / "door" / "0000.png").write_bytes((root / "masks" / "door" / "0000.png").read_bytes()[:60])
    make_samples(index, tmp_path / "samples", KNOBS, SIZE)
    rejects = tables.read_rejects(tmp_path / "samples").to_pylist()
    assert [row["path"] for row in rejects] == [
        "images/apple/0001.png",
        "images/bear/0002.png",
        "masks/door/0000.png",
    ]
    assert {row["stage"] for row in rejects} == {"sism"}
    assert rejects[1]["error"] == "FileNotFoundError"
    assert len(tables.read_table(tmp_path / "samples")) == 9
    assert "group 'door' lost all its images" in capsys.readouterr().out
    with pytest.raises(tables.TableError, match=r"3 images were refused and sism\.strict is set"):
        make_samples(index, tmp_path / "samples", KNOBS.model_copy(update={"strict": True}), SIZE)


def test_images_without_a_map_made_elsewhere_are_named(collection, ray_session, tmp_path):
    for group, name in (("apple", "0000"), ("apple", "0001")):
        (tmp_path / "maps" / group).mkdir(parents=True, exist_ok=True)
        (tmp_path / "maps" / group / f"{name}.png").write_bytes(images.encode(np.full((8, 8), 51, np.uint8)))
    config = KNOBS.model_copy(update={"method": f"maps:{tmp_path / 'maps'}"})
    make_samples(collection[1], tmp_path / "samples", config, SIZE)
    rows = tables.read_table(tmp_path / "samples").to_pylist()
    assert [(row["group"], row["name"]) for row in rows] == [("apple", "0000"), ("apple", "0001")]
    assert set(images.decode_gray(rows[0]["sism"]).ravel().tolist()) == {51}
    assert "apple/0002" in {row["path"] for row in tables.read_rejects(tmp_path / "samples").to_pylist()}


def test_asking_for_gpus_that_are_not_there_is_an_error(collection, ray_session, tmp_path):
    with pytest.raises(RuntimeError, match="the cluster has 0 GPUs"):
        make_samples(collection[1], tmp_path, KNOBS.model_copy(update={"gpus_per_actor": 1.0}), SIZE)


def start(root, folder, actors=2):
    """The stage in a process of its own."""
    code = (
        "from pathlib import Path; from pipeline.sism.config import SismConfig; "
        "from pipeline.sism.stage import make_samples; "
        f"config = SismConfig(method='gc', shard_size=2, batch_size=2, num_actors={actors}); "
        f"make_samples(Path({str(folder / 'index')!r}), Path({str(folder / 'samples')!r}), config, 96)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    return subprocess.Popen([sys.executable, "-c", code], cwd=root, env=environment, start_new_session=True)


def wait_for_shards(process, samples, count):
    while len(list(samples.glob("shard-*"))) < count:
        assert process.poll() is None, "the stage ended before it could be killed"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    photos = photographs.write(folder / "photos", {f"g{number}": 6 for number in range(8)}, 300, 400)
    photographs.index(photos, folder / "index")
    return folder


@pytest.fixture(scope="module")
def undisturbed(large, root):
    """The table's bytes when nothing is killed."""
    assert start(root, large).wait() == 0
    return photographs.files(large / "samples")


@pytest.fixture
def running(large, undisturbed, root, tmp_path):
    """The stage, at work on the same collection in a folder of its own, with some shards finished."""
    shutil.copytree(large / "index", tmp_path / "index")
    process = start(root, tmp_path)
    wait_for_shards(process, tmp_path / "samples", 4)
    return process


def child(process, named):
    family = psutil.Process(process.pid).children(recursive=True)
    return next(one for one in family if named in "".join(one.cmdline()[:1]))


@pytest.mark.slow
def test_a_killed_driver_leaves_whole_shards_and_a_rerun_ends_with_the_same_bytes(running, undisturbed, root, tmp_path):
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "samples").glob("shard-*")}
    assert not (tmp_path / "samples" / tables.MANIFEST_FILE).exists()
    assert 4 <= len(kept) < 24
    assert start(root, tmp_path, actors=1).wait() == 0
    assert photographs.files(tmp_path / "samples") == undisturbed
    assert all(file.stat().st_mtime_ns == then for file, then in kept.items())


@pytest.mark.slow
def test_a_killed_actor_is_replaced_and_nothing_is_lost(running, undisturbed, tmp_path):
    child(running, "MapWorker").kill()
    assert running.wait() == 0
    assert photographs.files(tmp_path / "samples") == undisturbed


@pytest.mark.slow
def test_a_killed_raylet_ends_the_stage_and_a_rerun_ends_with_the_same_bytes(running, undisturbed, root, tmp_path):
    child(running, "raylet").kill()
    assert running.wait(timeout=120) != 0
    assert not (tmp_path / "samples" / tables.MANIFEST_FILE).exists()
    assert start(root, tmp_path).wait() == 0
    assert photographs.files(tmp_path / "samples") == undisturbed
