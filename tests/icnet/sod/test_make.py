"""Methods are made from one string, and known by what may change their maps."""

import numpy as np
import pytest

from icnet import images, sod
from icnet.sod import base

PICTURE = np.random.RandomState(0).randint(0, 256, (30, 40, 3)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "maps" / "cows").mkdir(parents=True)
    (tmp_path / "maps" / "cows" / "a b.png").write_bytes(images.encode(np.full((15, 20), 51, np.uint8)))
    (tmp_path / "secret.png").write_bytes(images.encode(np.full((15, 20), 51, np.uint8)))
    return tmp_path / "maps"


@pytest.mark.parametrize(
    ("spec", "complaint"),
    {
        "deepgaze:w.pth": "no SOD method 'deepgaze'; there are gc, egnet, cpd",
        "gc:weights.pth": "'gc' takes no file",
        "gc?sigma=2": "option 'sigma': .*not permitted.*longest",
        "gc?longest=-1": "option 'longest': .*greater than or equal to 0",
        "gc?longest": "must read name=value",
        "gc?longest=5&longest=6": "is given twice",
        "ones?x=1": "option 'x'",
        "onnx:absent.onnx": "no file 'absent.onnx'",
        "maps:absent": "no folder 'absent'",
        "maps:": "no folder ''",
        "u2net:": "no file ''",
    }.items(),
)
def test_a_specification_that_cannot_be_made_is_refused_with_the_reason(spec, complaint):
    with pytest.raises(base.SodError, match=complaint):
        sod.make_method(spec)


def test_ones_are_ones():
    saliency = sod.make_method("ones")(PICTURE)
    assert saliency.shape == (30, 40) and saliency.dtype == np.float32 and (saliency == 1).all()


def test_maps_are_found_by_group_and_name_and_resized(folder):
    saliency = sod.make_method(f"maps:{folder}")(PICTURE, ("cows", "a b"))
    assert saliency.shape == (30, 40) and saliency.dtype == np.float32
    np.testing.assert_allclose(saliency, 0.2)


def test_missing_and_damaged_maps_are_reported_by_name_all_at_once(folder):
    (folder / "cows" / "damaged.png").write_bytes(b"not a picture")
    keys = [("cows", "a b"), ("cows", "absent"), ("cows", "damaged"), ("..", "secret"), ("cows", "../../secret")]
    with pytest.raises(base.MissingMapError, match=r"there is no map 'cows/absent\.png'") as caught:
        sod.make_method(f"maps:{folder}").batch([PICTURE] * len(keys), keys)
    assert list(caught.value.reasons) == keys[1:]
    assert "is not an image" in caught.value.reasons["cows", "damaged"]


def test_a_map_that_was_there_and_cannot_be_read_now_is_an_error_not_a_missing_map(folder):
    method = sod.make_method(f"maps:{folder}")
    (folder / "cows" / "a b.png").rename(folder / "away")
    with pytest.raises(FileNotFoundError):
        method(PICTURE, ("cows", "a b"))
    (folder / "away").rename(folder / "cows" / "a b.png")
    assert method(PICTURE, ("cows", "a b")).shape == (30, 40)


def test_a_name_too_long_for_a_file_has_no_map(folder):
    with pytest.raises(base.MissingMapError, match="there is no map"):
        sod.make_method(f"maps:{folder}")(PICTURE, ("cows", "n" * 255))


def test_a_folder_without_maps_is_refused(tmp_path):
    (tmp_path / "cows").mkdir()
    with pytest.raises(base.SodError, match=r"there is no <group>/<name>\.png in"):
        sod.make_method(f"maps:{tmp_path}")


def test_names_of_maps_are_compared_in_composed_form(folder):
    (folder / "cafe\u0301").mkdir()
    (folder / "cows" / "a b.png").rename(folder / "cafe\u0301" / "e\u0301.png")
    assert sod.make_method(f"maps:{folder}")(PICTURE, ("caf\u00e9", "\u00e9")).shape == (30, 40)


def test_an_identity_follows_the_maps_contents_not_their_folder(folder, tmp_path):
    before = sod.make_method(f"maps:{folder}").identity
    folder.rename(tmp_path / "elsewhere")
    assert sod.make_method(f"maps:{tmp_path / 'elsewhere'}").identity == before
    (tmp_path / "elsewhere" / "cows" / "c.png").write_bytes(images.encode(np.zeros((2, 2), np.uint8)))
    assert sod.make_method(f"maps:{tmp_path / 'elsewhere'}").identity != before


def test_methods_and_options_have_different_identities():
    identities = {sod.make_method(spec).identity for spec in ("gc", "gc?longest=0", "ones")}
    assert len(identities) == 3
    assert sod.make_method("gc").identity == sod.make_method("gc?longest=400").identity


def test_a_specification_is_made_absolute_but_for_those_without_a_file(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    here = tmp_path.as_posix()
    assert sod.resolve_spec("onnx:w/net.onnx?size=64") == f"onnx:{here}/w/net.onnx?size=64"
    assert sod.resolve_spec("gc?longest=400") == "gc?longest=400"


def test_only_networks_use_a_gpu():
    assert sod.uses_gpu("egnet:weights.pth")
    assert not any(map(sod.uses_gpu, ("gc", "ones", "maps:folder")))
