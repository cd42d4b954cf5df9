"""Table 2's variants and the choices between paper and program."""

import dataclasses

import pytest
import torch

from icnet.config import Config
from icnet.inference import Predictor
from icnet.loss import iou_loss
from icnet.model import ICNet
from tests.icnet.networks import BOTH, FULL, SIZE


@pytest.fixture(params=BOTH)
def small(request):
    return BOTH[request.param]


def group(n=4):
    torch.manual_seed(0)
    return torch.randn(n, 3, SIZE, SIZE), torch.rand(n, 1, SIZE, SIZE)


@pytest.mark.parametrize("row", range(1, 8))
def test_every_row_of_table_2_trains_a_step_and_predicts(small, row):
    network = ICNet(Config.row(row, **small))
    images, sisms = group()
    trained = [part for part in network.parameters() if part.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=1e-4)
    before = [part.detach().clone() for part in trained]
    loss = iou_loss(network(images, sisms), (sisms > 0.5).float())
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    assert all(not torch.equal(*pair) for pair in zip(before, trained, strict=True))
    with torch.inference_mode():
        assert network.eval()(images, sisms).shape == (4, 1, SIZE, SIZE)


@pytest.mark.parametrize("row", range(1, 8))
def test_every_row_of_table_2_has_a_similar_capacity(row):
    with torch.device("meta"):
        count = sum(part.numel() for part in ICNet(Config.row(row)).parameters())
    assert count == pytest.approx(18_432_068, rel=0.01)


@pytest.mark.parametrize("row", range(1, 8))
def test_every_row_of_table_2_predicts_a_group_in_two_passes(small, row):
    network = ICNet(Config.row(row, **small)).double().eval()
    images, sisms = (part.double() for part in group(5))
    with torch.inference_mode():
        cues = Predictor(network).intra_cues(images, sisms)
        parts = [network(images[part], sisms[part], cues) for part in (slice(0, 2), slice(2, 5))]
        torch.testing.assert_close(torch.cat(parts), network(images, sisms), rtol=0, atol=1e-10)


@pytest.mark.parametrize("row", range(1, 8))
@pytest.mark.parametrize("sizes", [[5], [1, 4], [2, 1, 2], [1, 1, 1, 1, 1]])
def test_groups_predicted_together_get_the_maps_they_get_alone(small, row, sizes):
    network = ICNet(Config.row(row, **small)).double().eval()
    images, sisms = (part.double() for part in group(5))
    with torch.inference_mode():
        together = Predictor(network, batch_size=3).predict_groups(images, sisms, sizes)
        alone = [network.predict(*pair) for pair in zip(images.split(sizes), sisms.split(sizes), strict=True)]
    assert len(together) == len(sizes)
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one.maps, other.maps, rtol=0, atol=1e-10)
        torch.testing.assert_close(one.weights, other.weights, rtol=0, atol=1e-10)
        assert one.csa.keys() == other.csa.keys()
        for stage, maps in one.csa.items():
            torch.testing.assert_close(maps, other.csa[stage], rtol=0, atol=1e-10)


def test_without_sisms_they_change_nothing(small):
    images, sisms = group()
    for row in range(1, 8):
        network = ICNet(Config.row(row, **small)).eval()
        with torch.inference_mode():
            same = torch.equal(network(images, sisms), network(images, torch.rand_like(sisms)))
        assert same == (not network.config.sisms)


def test_without_the_cfm_every_member_weighs_the_same_and_there_is_no_csa_map(small):
    network = ICNet(Config.row(4, **small)).eval()
    with torch.inference_mode():
        prediction = network.predict(*group(4))
    assert prediction.csa == {}
    torch.testing.assert_close(prediction.weights, torch.full((4, 4), 0.25))


@pytest.mark.parametrize("row", [2, 3, 5, 6, 7])
def test_rows_with_the_cfm_train_and_predict_with_all_maps(row):
    network = ICNet(Config.row(row, **FULL))
    images, sisms = group()
    iou_loss(network(images, sisms), (sisms > 0.5).float()).backward()
    assert all(part.grad is not None for part in network.parameters() if part.requires_grad)
    with torch.inference_mode():
        assert network.eval()(images, sisms).shape == (4, 1, SIZE, SIZE)


def test_similarity_maps_are_added_to_what_the_blocks_give_without_them(small):
    network = ICNet(Config(**small, similarity_maps=True)).double().eval().requires_grad_(False)
    images, sisms = (part.double() for part in group())
    before = network(images, sisms)
    for block in network.blocks.values():
        block.widen.weight.zero_()
        block.widen.bias.zero_()
    plain = ICNet(Config(**small)).double().eval().requires_grad_(False)
    plain.load_state_dict(
        {
            key: value
            for key, value in network.state_dict().items()
            if not key.startswith("blocks") or ".widen." not in key
        }
    )
    torch.testing.assert_close(network(images, sisms), plain(images, sisms), rtol=0, atol=1e-12)
    assert (before - plain(images, sisms)).abs().max() > 1e-6


def test_object_maps_are_added_and_do_not_depend_on_the_sism(small):
    network = ICNet(Config(**small, object_maps=4)).eval().requires_grad_(False)
    images, sisms = group()
    before = network(images, sisms)
    found = network.object_maps(network.encode(images).high, (6, 6))
    assert found.shape[2:] == (6, 6) and found.std() > 0
    network.object_maps.widen.weight.zero_()
    network.object_maps.widen.bias.zero_()
    plain = ICNet(Config(**small)).eval().requires_grad_(False)
    plain.load_state_dict({key: value for key, value in network.state_dict().items() if "object_maps" not in key})
    torch.testing.assert_close(network(images, sisms), plain(images, sisms))
    assert (before - plain(images, sisms)).abs().max() > 1e-6


def test_a_residual_map_adds_its_logits_to_those_of_the_coarser_map():
    network = ICNet(Config(**FULL)).double().eval().requires_grad_(False)
    for stage in network.decoder.stages:
        stage.head.weight.zero_()
        stage.head.bias.fill_(1.0)
    images, sisms = (part.double() for part in group())
    features = network.encode(images)
    _, fused, _ = network.enhance(
        features, [(4, network.pool_cues(features, sisms))], network.pool_cues(features, sisms)
    )
    maps = network.decoder(fused, features.low, sisms, every_map=True)
    for number, finer in enumerate(maps[1:], start=1):
        torch.testing.assert_close(finer.logit().mean(), maps[0].logit().mean() + number, rtol=0, atol=0.5)


def test_row_7_is_the_network_itself():
    assert Config.row(7) == Config()


@pytest.mark.parametrize("choice", [{"alpha": "one"}, {"cfm_sum": "raw"}])
def test_paper_and_program_are_choices(small, choice):
    config = Config(**small, **choice)
    network = ICNet(config).eval()
    learned = [key for key, _ in network.named_parameters() if key.endswith("alpha")]
    assert len(learned) == (0 if config.alpha == "one" else 3)
    with torch.inference_mode():
        assert torch.isfinite(network(*group())).all()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"size": 16}, "size must be at least 32 px, got 16"),
        ({"object_maps": -1}, "object_maps must be from 0 to 512, got -1"),
        ({"similarity_maps": True, "fusion": "mean", "rearranged": False}, "similarity_maps needs fusion cfm"),
        ({"looks": 4}, "looks must be 1, 2 or 3, got 4"),
        ({"output": "means"}, "output must be one of finest, mean, got 'means'"),
        ({"width": 0.0}, "width must be in"),
        ({"features": "nf"}, "rearranged needs features scf"),
        ({"fusion": "mean"}, "rearranged needs features scf"),
    ],
)
def test_choices_that_contradict_each_other_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        Config(**wrong)


def test_a_backbone_of_a_later_version_is_refused_by_name():
    with pytest.raises(ValueError, match="backbone must be one of vgg16, dinov2_vits14, got 'dinov3'"):
        ICNet(dataclasses.replace(Config(), backbone="dinov3"))


def test_a_config_survives_json_types():
    config = Config.row(5, size=96, width=0.25)
    assert Config(**dataclasses.asdict(config)) == config
