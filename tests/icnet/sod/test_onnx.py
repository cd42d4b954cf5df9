"""Networks exported to ONNX, with a real one: U2NetP."""

import cv2
import numpy as np
import pytest
from PIL import Image

from icnet import images, sod
from icnet.sod import DetectionError, SodError
from icnet.sod import onnx as onnx_method

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def weights(shared):
    return shared / "weights" / "u2netp.onnx"


@pytest.fixture(scope="module")
def photograph(shared):
    file = sorted((shared / "data" / "pascal_coseg" / "images").glob("*/*.jpg"))[0]
    return images.decode(file.read_bytes())


def by_hand(weights, photograph, output=0):
    resized = cv2.resize(photograph.astype(np.float32) / 255, (320, 320))
    x = (resized / resized.max() - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    session = onnxruntime.InferenceSession(weights)
    raw = session.run(None, {"input.1": x.transpose(2, 0, 1)[None].astype(np.float32)})[output][0, 0]
    gray = Image.fromarray(((raw - raw.min()) / (raw.max() - raw.min()) * 255).astype(np.uint8))
    return np.asarray(gray.resize(photograph.shape[1::-1], Image.Resampling.BILINEAR)) / 255


def test_without_options_the_network_is_fed_as_u2net(weights, photograph):
    assert min(photograph.shape[:2]) < 320
    large = photograph.repeat(2, 0).repeat(2, 1)
    saliency = sod.make_method(f"onnx:{weights}")(large)
    assert saliency.dtype == np.float32
    np.testing.assert_allclose(saliency, by_hand(weights, large), rtol=0, atol=1 / 255 + 1e-6)
    assert np.mean(abs(saliency - by_hand(weights, large))) < 1e-4


def test_another_output_and_a_plain_probability_can_be_chosen(weights, photograph):
    first, other, plain = (
        sod.make_method(f"onnx:{weights}?{options}")
        for options in ("input=input.1&size=320&output=0&normalize=u2net", "output=6", "map=probability")
    )
    maps = [method(photograph) for method in (first, other, plain)]
    assert abs(maps[0] - maps[1]).max() > 0.1
    assert 0 < abs(maps[0] - maps[2]).max() < 0.05
    assert len({first.identity, other.identity, plain.identity}) == 3


def test_a_batch_gives_each_image_the_map_that_it_gets_alone(weights, photograph):
    method = sod.make_method(f"onnx:{weights}")
    pictures = [photograph, photograph[:1, :1], np.zeros((4, 5, 3), np.uint8)]
    for picture, saliency in zip(pictures, method.batch(pictures, [("", "")] * 3), strict=True):
        assert saliency.shape == picture.shape[:2] and np.isfinite(saliency).all()
        np.testing.assert_array_equal(saliency, method(picture))


def test_the_identity_follows_the_weights_not_their_path(weights, tmp_path):
    (tmp_path / "renamed.onnx").write_bytes(weights.read_bytes())
    assert sod.make_method(f"onnx:{tmp_path / 'renamed.onnx'}").identity == sod.make_method(f"onnx:{weights}").identity


@pytest.mark.parametrize(
    ("options", "complaint"),
    {
        "input=image": "no input 'image'; there are input.1",
        "output=9": "no output 9; there are 7",
        "size=256": r"input 'input\.1' is a tensor\(float\) \[1, 3, 320, 320\], not an RGB image of 256 px",
        "size=big": "option 'size': .*integer",
        "normalize=none": "option 'normalize': .*expected u2net, imagenet, unit or a formula like rgb-128/256",
        "mean=1,2": "option 'mean': .*expected one number or three",
        "mean=nan": "option 'mean': .*expected one number or three",
        "std=0": "option 'std': .*must not be zero",
        "normalize=rgb-128/0": "option 'normalize': .*must not be zero",
        "range=7": "option 'range': .*'1', '255' or 'max'",
    }.items(),
)
def test_an_option_that_the_network_cannot_follow_is_refused(weights, options, complaint):
    with pytest.raises(SodError, match=complaint) as caught:
        sod.make_method(f"onnx:{weights}?{options}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_network_is_refused(tmp_path):
    (tmp_path / "text.onnx").write_text("weights")
    with pytest.raises(SodError, match=r"text\.onnx' cannot be run by onnxruntime"):
        sod.make_method(f"onnx:{tmp_path / 'text.onnx'}")


def test_logits_are_passed_through_the_sigmoid():
    raw = np.array([[0.0, 100.0], [0.0, -100.0]], np.float32)
    np.testing.assert_allclose(onnx_method.read_map(raw, "logit", (2, 2))[:, 1], [1, 0])


RED, GREEN, BLUE = 0, 1, 2
PICTURE = np.zeros((16, 16, 3), np.uint8)
PICTURE[..., RED], PICTURE[..., GREEN], PICTURE[..., BLUE] = 51, 102, 204


def export(file, shape, channel, kind=onnx.TensorProto.FLOAT, channels_axis=1, keep=True, gain=1.0):
    """Write a network that returns one channel of its input times `gain`."""
    nodes = [
        onnx.helper.make_node("Cast", ["x"], ["floats"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Gather", ["floats", "channel"], ["one"], axis=channels_axis),
        onnx.helper.make_node("Mul", ["one", "gain"], ["y"]),
    ]
    index = [channel] if keep else channel
    constants = [
        onnx.numpy_helper.from_array(np.array(index, np.int64), "channel"),
        onnx.numpy_helper.from_array(np.array(gain, np.float32), "gain"),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "channel",
        [onnx.helper.make_tensor_value_info("x", kind, shape)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        constants,
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, file)
    return file


FREE = [1, 3, "h", "w"]


@pytest.mark.parametrize(
    ("options", "channel", "value"),
    [
        ("normalize=unit", RED, 51 / 255),
        ("mean=.1&std=2", RED, (51 / 255 - 0.1) / 2),
        ("mean=.1,.2,.3&std=1,2,3", BLUE, (204 / 255 - 0.3) / 3),
        ("normalize=rgb-26/256", RED, (51 - 26) / 256),
        ("normalize=bgr-100,50,10/300", RED, (204 - 100) / 300),
        ("normalize=bgr-100,50,10/300", BLUE, (51 - 10) / 300),
        ("range=max", GREEN, 102 / 204),
        ("range=255&std=510", GREEN, 102 / 510),
        ("normalize=imagenet", BLUE, (204 / 255 - 0.406) / 0.225),
        ("normalize=imagenet&mean=0", BLUE, 204 / 255 / 0.225),
        ("normalise=u2net", GREEN, (102 / 204 - 0.456) / 0.224),
    ],
)
def test_the_image_is_normalized_as_the_options_define(tmp_path, options, channel, value):
    file = export(tmp_path / "net.onnx", FREE, channel, gain=0.1)
    saliency = sod.make_method(f"onnx:{file}?size=16&map=probability&{options}")(PICTURE)
    assert np.abs(saliency[2:-2, 2:-2] - np.clip(value * 0.1, 0, 1)).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize(
    ("shape", "kind", "options"),
    [
        ([1, 16, 16, 3], onnx.TensorProto.FLOAT, "normalize=unit"),
        (["n", 3, 16, 16], onnx.TensorProto.FLOAT16, "normalize=unit"),
        ([1, 3, "h", "w"], onnx.TensorProto.FLOAT, "normalize=unit&size=24&antialias=true"),
    ],
)
@pytest.mark.parametrize("keep", [True, False])
def test_other_layouts_types_and_sizes_of_input_and_output_are_supported(tmp_path, shape, kind, options, keep):
    axis = 3 if shape[-1] == 3 else 1
    file = export(tmp_path / "net.onnx", shape, BLUE, kind, axis, keep)
    saliency = sod.make_method(f"onnx:{file}?map=probability&{options}")(PICTURE)
    assert saliency.shape == (16, 16)
    assert np.abs(saliency[2:-2, 2:-2] - 204 / 255).max() <= 1.5 / 255


def test_an_image_input_of_bytes_gets_bytes(tmp_path):
    file = export(tmp_path / "net.onnx", [1, 3, 16, 16], GREEN, onnx.TensorProto.UINT8, gain=1 / 255)
    saliency = sod.make_method(f"onnx:{file}?map=probability&range=255")(PICTURE)
    assert np.abs(saliency[2:-2, 2:-2] - 102 / 255).max() <= 1.5 / 255
    with pytest.raises(SodError, match="input 'x' takes bytes: add range=255"):
        sod.make_method(f"onnx:{file}")


def test_more_memory_is_asked_for_where_the_network_has_a_larger_side(tmp_path):
    small, large = (export(tmp_path / f"{side}.onnx", [1, 3, side, side], GREEN) for side in (320, 1024))
    assert sod.estimate_memory(f"onnx:{small}", 1) < 1e9 < 4e9 < sod.estimate_memory(f"onnx:{large}", 1)


def test_an_input_that_is_no_rgb_image_and_an_output_that_is_no_map_are_refused(tmp_path):
    file = export(tmp_path / "gray.onnx", [1, 1, 16, 16], 0)
    with pytest.raises(SodError, match="not an RGB image of 16 px"):
        sod.make_method(f"onnx:{file}")
    file = export(tmp_path / "two.onnx", [1, 3, 16, 16], [0, 1], keep=False)
    with pytest.raises(SodError, match=r"output 'y' has the shape \[2, 16, 16\] for an image: it is not one map"):
        sod.make_method(f"onnx:{file}")(PICTURE)


def test_a_map_that_is_not_finite_is_refused_by_the_name_of_its_image(tmp_path):
    file = export(tmp_path / "nan.onnx", [1, 3, 16, 16], 0, gain=np.nan)
    with pytest.raises(DetectionError, match="the network's map of cows/7 is not finite"):
        sod.make_method(f"onnx:{file}").batch([PICTURE], [("cows", "7")])


def test_the_conventions_of_published_networks_can_be_written_as_options(tmp_path):
    published = {
        "IS-Net": "mean=.5&std=1",
        "RMBG-1.4": "mean=.5&std=1",
        "BiRefNet": "normalize=imagenet&antialias=true&map=logit",
        "InSPyReNet": "normalize=imagenet&map=stretch",
    }
    file = export(tmp_path / "net.onnx", [1, 3, 16, 16], 0)
    for name, options in published.items():
        saliency = sod.make_method(f"onnx:{file}?{options}")(PICTURE)
        assert np.isfinite(saliency).all() and saliency.min() >= 0 and saliency.max() <= 1, name


def test_data_outside_the_folder_of_the_network_is_not_read(tmp_path):
    (tmp_path / "secret").write_bytes(np.zeros(1, np.float32).tobytes())
    (tmp_path / "nets").mkdir()
    file = export(tmp_path / "nets" / "net.onnx", [1, 3, 16, 16], 0)
    model = onnx.load(file)
    gain = model.graph.initializer[1]
    gain.ClearField("raw_data")
    gain.data_location = onnx.TensorProto.EXTERNAL
    gain.external_data.add(key="location", value="../secret")
    file.write_bytes(model.SerializeToString())
    with pytest.raises(SodError, match="cannot be run by onnxruntime"):
        sod.make_method(f"onnx:{file}")
