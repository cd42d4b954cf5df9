"""The network's behaviour: groups of any size, in one pass or two, in any order."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from icnet.config import Config
from icnet.correlation import Cues
from icnet.inference import Predictor, optimize
from icnet.loss import iou_loss
from icnet.model import ICNet
from icnet.object_maps import ObjectMaps
from tests.icnet.networks import ALL, SIZE


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(params=ALL)
def small(request):
    return Config(**ALL[request.param])


@pytest.fixture
def model(small):
    network = ICNet(small).double().eval()
    for norm in (part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)):
        norm.running_mean.normal_(std=0.1)
        norm.running_var.uniform_(0.5, 1.5)
    return network.requires_grad_(False)


def group(n=5, size=SIZE, dtype=torch.float64):
    return torch.randn(n, 3, size, size, dtype=dtype), torch.rand(n, 1, size, size, dtype=dtype)


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_a_group_of_any_size_gets_one_map_an_image_in_evaluation(model, n):
    maps = model(*group(n))
    assert maps.shape == (n, 1, SIZE, SIZE)
    assert ((maps >= 0) & (maps <= 1)).all()


def test_training_gives_four_maps_coarse_to_fine(small):
    images, sisms = group(3, dtype=torch.float32)
    maps = ICNet(small).train()(images, sisms)
    roughness = maps.diff(dim=3).diff(dim=3).abs().mean(dim=(0, 2, 3)) / maps.std(dim=(0, 2, 3))
    side = SIZE if small.backbone == "vgg16" else SIZE // 2  # the finest map has the size of the finest low level
    assert maps.shape == (3, 4, side, side)
    assert roughness[0] < roughness[3]


def test_predictions_follow_a_reordering_of_the_group(model):
    images, sisms = group(6)
    order = torch.randperm(6)
    torch.testing.assert_close(model(images[order], sisms[order]), model(images, sisms)[order], rtol=0, atol=1e-10)


def test_other_members_of_the_group_change_an_images_map(model):
    images, sisms = group(4)
    assert (model(images, sisms)[:1] - model(images[:1], sisms[:1])).abs().max() > 1e-6


@pytest.mark.parametrize("split", [[7], [3, 4], [1, 1, 5], [2, 2, 2, 1], [1] * 7])
def test_two_passes_equal_one_for_any_split_of_the_group(model, split):
    images, sisms = group(7)
    batches = list(zip(images.split(split), sisms.split(split), strict=True))
    cues = Predictor(model, batch_size=3).gather_cues(lambda: batches)
    found = torch.cat([model(*batch, cues=cues) for batch in batches])
    torch.testing.assert_close(found, model(images, sisms), rtol=0, atol=1e-10)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
def test_a_group_gets_the_same_maps_however_many_images_go_through_the_network_at_once(model, batch_size):
    images, sisms = group(7)
    found = Predictor(model, batch_size).predict(images, sisms)
    whole = model.predict(images, sisms)
    torch.testing.assert_close(found.maps, whole.maps, rtol=0, atol=1e-10)
    torch.testing.assert_close(found.weights, whole.weights, rtol=0, atol=1e-10)
    torch.testing.assert_close(found.csa[5], whole.csa[5], rtol=0, atol=1e-10)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_sisms_without_content_give_finite_maps_and_gradients(small, value):
    images, sisms = group(3, dtype=torch.float32)
    network = ICNet(small)
    sisms = torch.full_like(sisms, value)
    maps = network(images, sisms)
    iou_loss(maps, (sisms > 0).float()).backward()
    assert torch.isfinite(maps).all()
    assert all(torch.isfinite(part.grad).all() for part in network.parameters() if part.requires_grad)
    assert torch.isfinite(network.eval()(images[:1], sisms[:1])).all()


def test_a_group_with_one_empty_sism_trains_without_nan(small):
    images, sisms = group(4, dtype=torch.float32)
    sisms[1] = 0
    network = ICNet(small)
    iou_loss(network(images, sisms), (sisms > 0.5).float()).backward()
    assert all(torch.isfinite(part.grad).all() for part in network.parameters() if part.requires_grad)


def test_every_parameter_gets_a_gradient_alpha_included(small):
    images, sisms = group(4, dtype=torch.float32)
    network = ICNet(small)
    iou_loss(network(images, sisms), (sisms > 0.5).float()).backward()
    alphas = [block.alpha for block in network.blocks.values()]
    assert len(alphas) == 3
    assert all(alpha.grad.abs() > 0 for alpha in alphas)
    assert all(part.grad is not None for part in network.parameters() if part.requires_grad)


@pytest.mark.parametrize("looks", [2, 3])
@pytest.mark.parametrize("split", [[7], [3, 4], [1, 1, 5]])
def test_later_looks_of_a_group_in_several_passes_equal_those_in_one(small, looks, split):
    model = ICNet(replace(small, looks=looks)).double().eval().requires_grad_(False)
    images, sisms = group(7)
    batches = list(zip(images.split(split), sisms.split(split), strict=True))
    predictor = Predictor(model, batch_size=3)
    cues = None
    for _ in range(predictor.looks):
        cues = Cues.merge([predictor.intra_cues(*batch, cues) for batch in batches])
    found = torch.cat([predictor.predict(*batch, cues).maps for batch in batches])
    torch.testing.assert_close(found, model(images, sisms), rtol=0, atol=1e-10)
    torch.testing.assert_close(predictor.predict(images, sisms).maps, found, rtol=0, atol=1e-10)
    gathered = predictor.gather_cues(lambda: batches)
    torch.testing.assert_close(gathered.sivs[0], cues.sivs[0], rtol=0, atol=1e-10)


def test_a_later_look_pools_its_sivs_from_the_coarsest_map(small):
    images, sisms = group(4)
    once = ICNet(small).double().eval().requires_grad_(False)
    twice = ICNet(replace(small, looks=2)).double().eval().requires_grad_(False)
    twice.load_state_dict(once.state_dict())
    features = once.encode(images)
    coarse = once.find_coarse_maps(features, sisms, [(4, once.pool_cues(features, sisms))])
    expected = once(images, sisms, once.pool_from_maps(features, coarse, 1 - coarse))
    torch.testing.assert_close(twice(images, sisms), expected, rtol=0, atol=1e-12)
    assert (expected - once(images, sisms)).abs().max() > 1e-6


def test_groups_predicted_together_get_their_own_later_looks(small):
    model = ICNet(replace(small, looks=2)).double().eval().requires_grad_(False)
    images, sisms = group(5)
    together = Predictor(model, batch_size=2).predict_groups(images, sisms, [2, 3])
    alone = [model.predict(*pair) for pair in zip(images.split([2, 3]), sisms.split([2, 3]), strict=True)]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one.maps, other.maps, rtol=0, atol=1e-10)


def test_a_training_step_can_pool_its_sivs_from_given_maps(small):
    images, sisms = group(3, dtype=torch.float32)
    network = ICNet(small).train()
    masks = (torch.rand_like(sisms) > 0.5).float()
    found = []
    for pooled in (None, sisms, masks):
        torch.manual_seed(0)
        found.append(network(images, sisms, pooled=pooled))
    torch.testing.assert_close(found[1], found[0])
    assert (found[2] - found[0]).abs().max() > 1e-6


def test_groups_that_are_trained_together_stay_groups_of_their_own(small):
    torch.manual_seed(0)
    network = ICNet(small).double().train()
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d | ObjectMaps):
            part.eval()
    images, sisms = group(5)
    together = network(images, sisms, sizes=[2, 3])
    apart = [network(images[part], sisms[part]) for part in (slice(0, 2), slice(2, 5))]
    torch.testing.assert_close(together, torch.cat(apart), rtol=0, atol=1e-10)


def test_weights_say_how_much_each_member_weighs(model):
    images, sisms = group(5)
    prediction = model.predict(images, sisms)
    assert prediction.weights.shape == (5, 5)
    torch.testing.assert_close(prediction.weights.sum(dim=1), torch.ones(5, dtype=torch.float64))
    assert prediction.weights.std() > 0


def test_a_prediction_holds_the_csa_maps_of_every_stage(model):
    images, sisms = group(5)
    prediction = model.predict(images, sisms)
    shapes = {stage: tuple(maps.shape) for stage, maps in prediction.csa.items()}
    assert shapes == {stage: (5, 1, side, side) for stage, side in zip((4, 5, 6), model.backbone.sides, strict=True)}
    torch.testing.assert_close(prediction.maps, model(images, sisms))


def test_the_foreground_and_background_branches_swap_with_the_sisms(model):
    images, sisms = group(3)
    for block, opposite in zip(
        Predictor(model).intra_cues(images, sisms).sivs,
        Predictor(model).intra_cues(images, 1 - sisms).sivs,
        strict=True,
    ):
        torch.testing.assert_close(block, opposite.flip(1))


def test_batch_norms_that_the_branches_share_update_twice_a_training_step(small):
    network = ICNet(small).train()
    network(*group(2, dtype=torch.float32))
    block = network.blocks["5"]
    assert block.branch.first[1].num_batches_tracked == 2
    assert block.joined.first[1].num_batches_tracked == 1


@pytest.mark.parametrize("size", [32, 96, 112, 150])
def test_other_sizes_work(size):
    network = ICNet(Config(size=size, width=0.125, init="he")).eval()
    with torch.inference_mode():
        assert network(*group(2, size, torch.float32)).shape == (2, 1, size, size)


def test_bf16_keeps_correlations_in_float32_and_stays_close_to_float32(model):
    network = model.float()
    images, sisms = group(4, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        prediction = network.predict(images, sisms)
        cues = Predictor(network).intra_cues(images, sisms)
    exact = network.predict(images, sisms)
    assert prediction.maps.dtype == prediction.weights.dtype == cues.sivs[0].dtype == torch.float32
    assert all(maps.dtype == torch.float32 for maps in prediction.csa.values())
    assert (prediction.maps - exact.maps).abs().mean() < 0.02


@pytest.mark.parametrize("init", ["program", "paper", "he", "whitened", "delta"])
def test_new_layers_start_with_the_spread_that_the_config_names(init):
    network = ICNet(Config(size=64, width=0.5, init=init))
    weight = network.decoder.stages[0].widen[0].weight
    he = (2 / weight[0].numel()) ** 0.5
    spread = {"program": 0.01, "paper": 0.1}.get(init, he)
    assert weight.std().item() == pytest.approx(spread, rel=0.05)
    assert all((part.bias == 0).all() for part in network.modules() if isinstance(part, torch.nn.Conv2d))
    assert all(block.alpha == 1 for block in network.blocks.values())


def test_the_copy_for_inference_gives_the_same_maps_without_batch_norms(model):
    images, sisms = group(5)
    fast = optimize(model, torch.float64)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in fast.modules())
    torch.testing.assert_close(fast(images, sisms), model(images, sisms), rtol=0, atol=1e-10)
    assert any(isinstance(part, torch.nn.BatchNorm2d) for part in model.modules())


def test_the_copy_for_inference_in_bf16_keeps_its_cues_in_float32(model):
    images, sisms = group(5, dtype=torch.float32)
    exact = model.float().predict(images, sisms)
    fast = Predictor(optimize(model, torch.bfloat16))
    prediction = fast.predict(images, sisms, fast.intra_cues(images, sisms))
    assert prediction.maps.dtype == prediction.weights.dtype == prediction.csa[5].dtype == torch.float32
    assert (prediction.maps - exact.maps).abs().mean() < 0.02


COMPILED = """
import torch
from icnet.config import Config
from icnet.inference import Predictor, compile_parts, optimize
from icnet.model import ICNet

torch.manual_seed(0)
exact = optimize(ICNet(Config(size=64, width=0.125, init="he")))
network = optimize(exact)
compile_parts(network)
fast = Predictor(network, batch_size=3)
for n in (5, 1, 2, 3, 7, 12):
    images, sisms = torch.randn(n, 3, 64, 64), torch.rand(n, 1, 64, 64)
    with torch.inference_mode():
        difference = (fast.predict(images, sisms).maps - exact(images, sisms)).abs().mean().item()
    print(n, difference, torch._dynamo.utils.counters["stats"]["unique_graphs"])
"""


@pytest.mark.slow
def test_a_compiled_network_serves_groups_of_any_size_from_one_compilation():
    """In a process of its own: where shapes are checked, functions cannot be compiled."""
    answer = subprocess.run([sys.executable, "-c", COMPILED], check=True, stdout=subprocess.PIPE, text=True).stdout
    rows = [line.split() for line in answer.splitlines()]
    assert [int(n) for n, _, _ in rows] == [5, 1, 2, 3, 7, 12]
    assert all(float(difference) < 1e-3 for _, difference, _ in rows)
    assert len({graphs for _, _, graphs in rows}) == 1


@pytest.mark.slow
def test_a_group_of_5000_images_of_224_px_is_predicted_in_far_less_than_4_gb(root):
    """The first pass over eight of them and the second over eight; all 5,000 SIVs take part."""
    few = ["--images", "5000", "--known", "4992", "--predicted", "8"]
    command = [sys.executable, str(root / "benchmarks" / "model.py"), "group", *few]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "cues of 5000 images" in answer
    assert float(answer.split()[-2]) < 1500
