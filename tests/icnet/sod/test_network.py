"""Every network against its authors' program, with weights and inputs made by a formula."""

from functools import partial

import numpy as np
import pytest
import safetensors.torch
import torch

from icnet import sod
from icnet.sod import base, basnet, cpd, egnet, f3net, network, preprocessing, u2net

NETWORKS = {
    "U2NetP": (lambda state: u2net.U2Net(u2net.SMALL), "d0", {"s0": 2e-5, "s1": 2e-5, "big": 2e-5}),
    "U2Net": (lambda state: u2net.U2Net(u2net.FULL), "d0", {"s0": 2e-5, "s1": 2e-5, "big": 2e-5}),
    "EGNet_vgg": (lambda state: egnet.EGNet(), "sal2_4", {"s0": 1e-4, "s1": 1e-4}),
    "F3Net": (lambda state: f3net.F3Net(), "pred2", {"s0": 3e-4, "s1": 3e-4}),
    "CPD_vgg": (cpd.build, "detection", {"s0": 1e-4, "big": 3e-4}),
    "CPD_resnet": (cpd.build, "detection", {"s0": 1e-4, "big": 3e-4}),
    "BASNet": (lambda state: basnet.BASNet(), "dout", {"s0": 1e-5}),
}


@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_a_network_gives_its_authors_maps(name, references, formula_state, formula_input):
    build, output, tolerances = NETWORKS[name]
    reference = np.load(references / f"{name}.npz")
    made = network.build_network(build, formula_state(name), name)
    for case, tolerance in tolerances.items():
        np.testing.assert_allclose(
            run(made, formula_input(case)), reference[f"{case}/{output}"], rtol=0, atol=tolerance
        )
    case = "s1" if "s1" in tolerances else "s0"
    got = run(made.double(), formula_input(case)[:1].double())
    np.testing.assert_allclose(got, reference[f"{case}/{output}_f64"][:1], rtol=0, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_a_network_gives_its_authors_maps_of_every_size_in_double_precision(
    name, references, formula_state, formula_input
):
    build, output, tolerances = NETWORKS[name]
    reference = np.load(references / f"{name}.npz")
    made = network.build_network(build, formula_state(name), name).double()
    for case in tolerances:
        got = run(made, formula_input(case).double())
        if case == "big":
            np.testing.assert_allclose(got, reference[f"big/{output}_f64_as_f32"], rtol=6e-8, atol=1e-9)
        else:
            np.testing.assert_allclose(got, reference[f"{case}/{output}_f64"], rtol=0, atol=1e-9)


def run(made, x):
    return network.resize(made(x), x.shape[-2:]).numpy()


@pytest.fixture(scope="module")
def state(formula_state):
    """The smallest network's state dict."""
    return formula_state("U2NetP")


@pytest.fixture(scope="module")
def plain(state, tmp_path_factory):
    """Its checkpoint, as torch saves it."""
    file = tmp_path_factory.mktemp("weights") / "u2netp.pth"
    torch.save(state, file)
    return file


@pytest.fixture(scope="module")
def picture():
    """An RGB image of random blocks."""
    return np.random.RandomState(1).randint(0, 256, (6, 9, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)


def test_a_checkpoint_may_come_wrapped_prefixed_and_without_counters(state, tmp_path):
    lean = {f"module.{key}": tensor for key, tensor in state.items() if not key.endswith("num_batches_tracked")}
    torch.save({"epoch": 3, "state_dict": lean}, tmp_path / "wrapped.pth")
    torch.save(lean, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(state, tmp_path / "plain.safetensors")
    for file in tmp_path.iterdir():
        loaded = network.build_network(NETWORKS["U2NetP"][0], network.read_state(file), file.name)
        torch.testing.assert_close(dict(loaded.state_dict()), state, rtol=0, atol=0)


def test_a_missing_an_unknown_and_a_misshapen_key_are_named(state, tmp_path):
    broken = dict(state)
    broken["outconv.weights"] = broken.pop("outconv.weight")
    broken["side1.weight"] = broken["side1.weight"][:, :7]
    torch.save(broken, tmp_path / "broken.pth")
    with pytest.raises(base.SodError) as caught:
        sod.make_method(f"u2netp:{tmp_path / 'broken.pth'}")
    message = str(caught.value)
    assert "broken.pth is not a checkpoint of U2Net" in message
    assert "'outconv.weight' is missing" in message
    assert "'outconv.weights' is unknown" in message
    assert "'side1.weight' has shape (1, 7, 3, 3) instead of (1, 64, 3, 3)" in message


def test_a_checkpoint_of_another_network_is_refused_by_name(plain):
    for kind, name in {
        "u2net": "U2Net",
        "egnet": "EGNet",
        "cpd": "CPDVGG",
        "f3net": "F3Net",
        "basnet": "BASNet",
    }.items():
        with pytest.raises(base.SodError, match=rf"is not a checkpoint of {name}: key .*; and \d+ more"):
            sod.make_method(f"{kind}:{plain}")


class Trap:
    def __reduce__(self):
        return (print, ("a checkpoint ran code",))


def test_a_file_that_is_no_checkpoint_is_refused_and_runs_nothing(tmp_path, capsys):
    (tmp_path / "text.pth").write_text("weights")
    (tmp_path / "empty.pth").touch()
    (tmp_path / "text.safetensors").write_text("weights")
    torch.save({"key": Trap()}, tmp_path / "trap.pth")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    torch.save({"epoch": 1}, tmp_path / "number.pth")
    for file in tmp_path.iterdir():
        with pytest.raises(base.SodError, match=file.name):
            sod.make_method(f"u2netp:{file}")
    assert "ran code" not in capsys.readouterr().out
    with pytest.raises(base.SodError, match="there is no file 'absent"):
        sod.make_method("u2netp:absent.pth")


def test_a_batch_gives_each_image_the_map_that_it_gets_alone(state, picture):
    made = network.build_network(NETWORKS["U2NetP"][0], state, "formula")
    prepare = partial(preprocessing.make_square_input, size=64, normalize=preprocessing.normalize_by_maximum)
    arguments = made, network.Convention(prepare, preprocessing.read_stretched), torch.device("cpu")
    images = [picture, np.ascontiguousarray(picture[:, ::-1]), picture[:20], picture[:1, :1], np.zeros_like(picture)]
    maps = network.detect(*arguments, images, [("g", str(i)) for i in range(len(images))])
    for image, saliency in zip(images, maps, strict=True):
        assert saliency.shape == image.shape[:2] and saliency.dtype == np.float32
        assert saliency.min() >= 0 and saliency.max() <= 1
        np.testing.assert_array_equal(network.detect(*arguments, [image], [("g", "x")])[0], saliency)
    assert network.detect(*arguments, [], []) == []


def test_images_of_one_input_size_share_a_batch_unless_each_is_to_go_alone():
    sizes = [(3, 20, 30), (3, 20, 31), (3, 20, 30)]
    assert network.make_batches(sizes, alone=False) == [[0, 2], [1]]
    assert network.make_batches(sizes, alone=True) == [[0], [1], [2]]


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_weights_that_are_not_finite_are_refused_by_their_key(state, tmp_path, value):
    torch.save(state | {"outconv.bias": torch.tensor([float(value)])}, tmp_path / "bad.pth")
    with pytest.raises(
        base.SodError, match=r"bad\.pth cannot be used: key 'outconv\.bias' holds weights that are not fin"
    ):
        sod.make_method(f"u2netp:{tmp_path / 'bad.pth'}")


def test_a_map_that_is_not_finite_is_refused_by_the_name_of_its_image(state, picture, tmp_path):
    key = "stage1.rebnconvin.bn_s1.running_var"
    torch.save(state | {key: -torch.ones_like(state[key])}, tmp_path / "negative.pth")
    method = sod.make_method(f"u2netp:{tmp_path / 'negative.pth'}")
    with pytest.raises(base.DetectionError, match="the network's map of cows/7 is not finite"):
        method.batch([picture], [("cows", "7")])


@pytest.fixture(params={"egnet": "EGNet_vgg", "f3net": "F3Net", "cpd": "CPD_vgg", "basnet": "BASNet"}.items())
def checkpoint(request, formula_state, tmp_path):
    """Specification of a network with its checkpoint, which is large and goes after the test."""
    kind, name = request.param
    file = tmp_path / "weights.pth"
    torch.save(formula_state(name), file)
    yield f"{kind}:{file}"
    file.unlink()


def test_a_network_takes_an_odd_image_and_gives_a_map_of_its_size(checkpoint, picture):
    saliency = sod.make_method(checkpoint)(picture[:33, :1])
    assert saliency.shape == (33, 1)
    assert saliency.min() >= 0 and saliency.max() <= 1
