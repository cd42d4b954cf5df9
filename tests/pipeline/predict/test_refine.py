"""Maps whose edges follow the original images: predict.refine."""

import pytest
from PIL import Image

from icnet import images
from icnet.images.refine import refine
from pipeline import tables
from pipeline.predict.config import PredictConfig
from pipeline.predict.maps import MapsJob
from pipeline.predict.plan import plan_maps
from pipeline.predict.stage import predict_maps
from pipeline.runtime.threads import ThreadExecutor, ThreadPool
from pipeline.sism.config import SismConfig
from pipeline.sism.samples import SamplesJob
from pipeline.tables import OriginalError, TableError
from tests.helpers import checkpoints, photographs

SIDE = 64
SIZES = {"apple": 3, "bear": 9}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return checkpoints.save_small(tmp_path_factory.mktemp("model"), SIDE)


def make_samples(folder):
    """Root, index and samples of a small collection; the bears fill several shards."""
    root = photographs.write(folder / "photographs", SIZES, height=90, width=120)
    index = photographs.index(root, folder / "index")
    with ThreadPool(2) as pool:
        SamplesJob(index, folder / "samples", SismConfig(method="gc"), SIDE).run(ThreadExecutor(pool))
    return root, index, folder / "samples"


def predict(index, samples, model, folder, refine, shard_size=4):
    config = PredictConfig(shard_size=shard_size, batch_size=4, refine=refine)
    with ThreadPool(2) as pool:
        job = MapsJob(samples, model, folder / "maps", folder / "work", config, index=index)
        job.run(ThreadExecutor(pool))
    return tables.read_table(folder / "maps").to_pylist()


def test_refined_maps_are_the_plain_ones_with_the_edges_of_the_original_images(model, tmp_path):
    root, index, samples = make_samples(tmp_path)
    plain = predict(index, samples, model, tmp_path / "plain", False)
    refined = predict(index, samples, model, tmp_path / "refined", True)
    for before, after in zip(plain, refined, strict=True):
        photograph = images.decode((root / "images" / before["group"] / f"{before['name']}.png").read_bytes())
        expected = refine(images.decode_gray(before["map"]), photograph)
        assert (images.decode_gray(after["map"]) == expected).all() and after["map"] != before["map"]
        assert {**after, "map": None} == {**before, "map": None}


@pytest.mark.slow
def test_refined_maps_are_the_same_bytes_on_ray_and_kept_by_the_next_run(model, ray_session, tmp_path, capsys):
    _, index, samples = make_samples(tmp_path)
    predict(index, samples, model, tmp_path / "threads", True)
    config = PredictConfig(shard_size=4, batch_size=4, refine=True, num_actors=2)
    places = samples, model, tmp_path / "ray" / "maps", tmp_path / "ray" / "work"
    predict_maps(*places, config, index=index)
    assert photographs.files(tmp_path / "ray" / "maps") == photographs.files(tmp_path / "threads" / "maps")
    assert "original images, refined, in" in capsys.readouterr().out
    predict_maps(*places, config, index=index)
    assert "0 predicted" in capsys.readouterr().out


def test_maps_are_predicted_again_when_they_are_to_be_refined(tmp_path):
    *_, samples = make_samples(tmp_path)
    plain, refined = (plan_maps(samples, PredictConfig(refine=on), "model") for on in (False, True))
    assert not {shard.key for shard in plain} & {shard.key for shard in refined}


def test_an_original_image_that_changed_is_named(model, tmp_path):
    root, index, samples = make_samples(tmp_path)
    Image.new("RGB", (120, 90)).save(root / "images" / "apple" / "0001.png")
    with pytest.raises(OriginalError, match=r"apple/0001\.png changed after it was indexed"):
        predict(index, samples, model, tmp_path / "made", True)


def test_an_index_of_another_collection_is_refused(model, tmp_path):
    *_, samples = make_samples(tmp_path / "one")
    other = photographs.index(photographs.write(tmp_path / "photographs", {"apple": 3}), tmp_path / "index")
    with pytest.raises(TableError, match="does not list every image"):
        predict(other, samples, model, tmp_path / "made", True)
