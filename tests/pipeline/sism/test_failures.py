"""Stage sism: only what is wrong with a file's own content is stored as a reject; other failures end the stage."""

import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from icnet import images, sod
from icnet.sod.base import DetectionError, Method
from pipeline import tables
from pipeline.runtime.threads import ThreadExecutor, ThreadPool
from pipeline.sism.config import SismConfig
from pipeline.sism.samples import SamplesJob
from pipeline.sism.stage import make_samples
from pipeline.sism.worker import MethodError, load_method
from pipeline.tables import originals
from tests.helpers import photographs

SIZE = 32
CONFIG = SismConfig(method="ones", shard_size=4, batch_size=2)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(originals, "RETRY_DELAYS", (0.01,))


@pytest.fixture
def root(tmp_path):
    return photographs.write(tmp_path / "photos", {"apple": 3, "bear": 6, "chair": 2, "door": 1})


@pytest.fixture
def run(root, tmp_path):
    """Run the stage in this process, on the index as it was at first, with some config; returns rows and rejects."""
    index = photographs.index(root, tmp_path / "index")

    def run(config=CONFIG, index=index, samples=tmp_path / "samples"):
        with ThreadPool(2) as pool:
            SamplesJob(index, samples, config, SIZE).run(ThreadExecutor(pool))
        return tables.read_table(samples).to_pylist(), tables.read_rejects(samples).to_pylist()

    return run


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])


def test_content_that_cannot_be_decoded_is_a_reject_and_the_other_images_become_rows(root, run, tmp_path):
    for path in ("images/apple/0001.png", "masks/door/0000.png"):
        cut(root / path)
    rows, rejects = run(index=photographs.index(root, tmp_path / "again"))
    assert len(rows) == 10
    assert [(row["path"], row["stage"], row["error"]) for row in rejects] == [
        ("images/apple/0001.png", "sism", "ImageError"),
        ("masks/door/0000.png", "sism", "ImageError"),
    ]
    assert all("truncated" in row["reason"] for row in rejects)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"strict": True}, r"4 images were rejected and sism\.strict is set"),
        ({"max_rejects": 0.3}, r"4 of 12 images were rejected, more than sism\.max_rejects \(0\.3\) allows"),
        ({"max_rejects": 0.4}, None),
    ],
)
def test_more_rejects_than_the_options_allow_end_the_stage(root, run, tmp_path, config, message):
    for number in range(4):
        cut(root / "images" / "bear" / f"{number:04d}.png")
    index = photographs.index(root, tmp_path / "again")
    run(index=index)
    changed = CONFIG.model_copy(update=config)
    for _ in range(2):  # a rerun must not pass
        if message is None:
            make_samples(index, tmp_path / "samples", changed, SIZE)
            continue
        with pytest.raises(tables.TableError, match=message):
            make_samples(index, tmp_path / "samples", changed, SIZE)


def test_a_collection_without_a_decodable_image_is_an_error_whatever_the_share(root, run, tmp_path):
    for file in (root / "images").rglob("*.png"):
        cut(file)
    index = photographs.index(root, tmp_path / "again")
    run(index=index)
    with pytest.raises(tables.TableError, match=r"all 12 images were rejected: see .*rejects\.parquet"):
        make_samples(index, tmp_path / "samples", CONFIG.model_copy(update={"max_rejects": 1.0}), SIZE)


def test_a_file_that_is_away_ends_the_stage_and_is_read_at_the_next_run(root, run, tmp_path):
    expected = run(samples=tmp_path / "undisturbed")
    file = root / "images" / "bear" / "0002.png"
    file.rename(tmp_path / "away")
    with pytest.raises(tables.OriginalError, match=r"bear/0002\.png cannot be read: No such file or directory: make"):
        run()
    assert not (tmp_path / "samples" / tables.MANIFEST_FILE).exists()
    (tmp_path / "away").rename(file)
    assert run() == expected
    assert photographs.files(tmp_path / "samples") == photographs.files(tmp_path / "undisturbed")


def test_a_lost_root_ends_the_stage(root, run, tmp_path):
    root.rename(tmp_path / "unmounted")
    with pytest.raises(
        tables.OriginalError, match=r"there is no folder .*photos, the root of the collection: mount it"
    ):
        run()
    root.mkdir()  # the empty mount point
    with pytest.raises(tables.OriginalError, match=r"cannot be read: No such file or directory"):
        run()
    assert not (tmp_path / "samples" / tables.MANIFEST_FILE).exists()


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_a_file_that_changed_after_indexing_ends_the_stage_until_it_is_indexed_again(root, run, tmp_path, kind):
    shutil.copyfile(root / kind / "bear" / "0004.png", root / kind / "bear" / "0003.png")
    with pytest.raises(
        tables.OriginalError, match=r"bear/0003\.png changed after it was indexed: run stage index again"
    ):
        run()
    rows, rejects = run(index=photographs.index(root, tmp_path / "again"))
    assert len(rows) == 12 and not rejects


def write_maps(folder: Path, names: list[str]) -> None:
    (folder / "apple").mkdir(parents=True)
    for name in names:
        (folder / "apple" / f"{name}.png").write_bytes(images.encode(np.full((8, 8), 51, np.uint8)))


def test_images_without_a_map_are_rejected_by_their_path(run, tmp_path):
    write_maps(tmp_path / "maps", ["0000", "0001"])
    rows, rejects = run(CONFIG.model_copy(update={"method": f"maps:{tmp_path / 'maps'}"}))
    assert [(row["group"], row["name"]) for row in rows] == [("apple", "0000"), ("apple", "0001")]
    assert set(images.decode_gray(rows[0]["sism"]).ravel().tolist()) == {51}
    reasons = {row["path"]: row["reason"] for row in rejects}
    assert reasons["images/apple/0002.png"] == "there is no map 'apple/0002.png'"
    assert len(reasons) == 10


def test_a_map_that_is_away_ends_the_stage(run, tmp_path):
    write_maps(tmp_path / "maps", ["0000", "0001"])
    config = CONFIG.model_copy(update={"method": f"maps:{tmp_path / 'maps'}"})
    load_method.cache_clear()
    load_method(config.method)  # as a worker that has started before
    (tmp_path / "maps" / "apple" / "0001.png").rename(tmp_path / "away")
    with pytest.raises(MethodError, match=r"failed on apple/0001: .*No such file or directory"):
        run(config)


def make_method(error: Exception | None, key: tuple[str, str]) -> Method:
    def detect(pictures, keys):
        if error is not None and key in keys:
            raise error
        return [np.ones(picture.shape[:2], np.float32) for picture in pictures]

    return Method(detect, lambda: f"test {error!r}")


def register_method(monkeypatch, method: Method) -> None:
    module = ModuleType("test_method")
    module.make = lambda spec, device: method
    monkeypatch.setitem(sys.modules, "test_method", module)
    monkeypatch.setitem(sod.METHODS, "test", "test_method")


def use_method(monkeypatch, error: Exception | None) -> SismConfig:
    load_method.cache_clear()
    register_method(monkeypatch, make_method(error, ("bear", "0002")))
    return CONFIG.model_copy(update={"method": "test"})


def test_an_image_that_the_method_has_no_map_of_is_a_reject(run, monkeypatch):
    rows, rejects = run(use_method(monkeypatch, DetectionError("its map is not finite")))
    assert len(rows) == 11
    assert [(row["path"], row["reason"]) for row in rejects] == [("images/bear/0002.png", "its map is not finite")]


def test_an_image_that_is_too_large_for_the_gpu_is_a_reject(run, monkeypatch):
    rows, rejects = run(use_method(monkeypatch, torch.OutOfMemoryError("CUDA out of memory")))
    assert len(rows) == 11
    assert rejects[0]["reason"].startswith("64 x 50 px need more memory than the GPU has")


@pytest.mark.parametrize("error", [RuntimeError("CUDA error:\nout of memory"), MemoryError(), OSError(5, "I/O error")])
def test_a_method_that_fails_for_another_reason_ends_the_stage_and_no_reject_is_stored(run, monkeypatch, error):
    with pytest.raises(MethodError, match=r"test failed on bear/0002: ") as caught:
        run(use_method(monkeypatch, error))
    assert "\n" not in str(caught.value)
    load_method.cache_clear()
    register_method(monkeypatch, make_method(None, ("", "")))
    rows, rejects = run(CONFIG.model_copy(update={"method": "test"}))
    assert len(rows) == 12 and not rejects
