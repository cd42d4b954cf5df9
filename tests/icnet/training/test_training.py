"""The step and the loop, in one process and without Ray, on a small network with batch norm."""

import copy
import itertools

import pytest
import torch
from torch import nn

from icnet import loss, training
from icnet.config import Config
from icnet.model import ICNet
from icnet.training import Batch, Training

STEPS = 4


class Net(nn.Module):
    """A small network with ICNet's interface: a backbone, batch norm, four maps in training and one in evaluation."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(5)
        self.head = nn.Conv2d(5, 4, 1)

    def forward(self, images, sisms):
        features = torch.cat([self.backbone(images), sisms], dim=1)
        maps = self.head(self.norm(features).relu()).sigmoid()
        return maps if self.training else maps[:, -1:]


@pytest.fixture
def net():
    torch.manual_seed(1)
    return Net()


def batch(seed, n=3, weight=1.0):
    draw = torch.Generator().manual_seed(seed)
    images, sisms, masks = (torch.rand(n, channels, 8, 8, generator=draw) for channels in (3, 1, 1))
    return Batch(images, sisms, masks.round(), weight)


def make(model, **config):
    optimizer = training.make_optimizer(model, lr=1e-2)
    return Training(model, optimizer, training.make_schedule(optimizer), **config)


def follow(trained, epochs=2):
    """The losses of a training whose plan is the numbers of its steps."""
    steps = training.run_steps(
        trained,
        epochs,
        plan=lambda epoch: [STEPS * epoch + number for number in range(STEPS)],
        load=lambda _, seeds: ([batch(seed)] for seed in seeds),
    )
    return [float(step.loss) for step in steps]


def test_a_training_lowers_its_loss(net):
    losses = follow(make(net), epochs=10)
    assert losses[-1] < losses[0]


def test_accumulated_batches_give_the_gradient_of_their_mean_loss(net):
    other = copy.deepcopy(net)
    optimizer = torch.optim.SGD(net.parameters(), 1.0)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    Training(net, optimizer, training.make_schedule(optimizer)).step([batch(1, weight=0.5), batch(2, 7, weight=0.5)])
    stepped = [old - new.detach() for old, new in zip(before, net.parameters(), strict=True)]
    other.train()
    losses = [loss.iou_loss(other(one.images, one.sisms), one.masks) for one in (batch(1), batch(2, 7))]
    torch.stack(losses).mean().backward()
    torch.testing.assert_close(stepped, [parameter.grad for parameter in other.parameters()])


def test_a_batch_of_weight_zero_changes_no_gradient(net):
    other = copy.deepcopy(net)
    make(net).step([batch(1)])
    make(other).step([batch(1), batch(2, weight=0.0)])
    torch.testing.assert_close(list(net.parameters()), list(other.parameters()))


@pytest.mark.parametrize("kind", ["constant", "cosine", "one_cycle"])
@pytest.mark.parametrize("stop", [1, STEPS, STEPS + 2])
def test_a_training_loaded_in_the_middle_goes_on_as_if_it_had_never_stopped(net, tmp_path, kind, stop):
    def make_one(model):
        optimizer = training.make_optimizer(model, lr=1e-2, backbone_lr=1e-3)
        return Training(
            model,
            optimizer,
            training.make_schedule(optimizer, kind, 3 * STEPS, 0.25),
            grad_clip_norm=1.0,
            ema_decay=0.9,
        )

    def losses(trained):
        steps = training.run_steps(
            trained, 3, lambda epoch: [7 * epoch + n for n in range(STEPS)], lambda _, s: ([batch(i)] for i in s)
        )
        return (float(step.loss) for step in steps)

    first = make_one(copy.deepcopy(net))
    undisturbed = list(losses(make_one(copy.deepcopy(net))))
    assert list(itertools.islice(losses(first), stop)) == undisturbed[:stop]
    first.save(tmp_path, best=0.5)
    second = make_one(Net())
    assert second.load(tmp_path) == {"best": 0.5}
    assert list(losses(second)) == undisturbed[stop:]
    for kept, loaded in zip(first.best_model.parameters(), second.best_model.parameters(), strict=True):
        assert kept.shape == loaded.shape


def test_the_same_random_numbers_come_back_after_a_resume(net, tmp_path):
    drawn = []

    class Noisy(Net):
        def forward(self, images, sisms):
            drawn.append(torch.rand(()).item())
            return super().forward(images, sisms)

    follow(make(Noisy()))
    whole, first = list(drawn), make(Noisy())
    drawn.clear()
    steps = training.run_steps(first, 2, lambda _: list(range(STEPS)), lambda _, s: ([batch(i)] for i in s))
    next(steps), next(steps)
    first.save(tmp_path)
    second = make(Noisy())
    second.load(tmp_path)
    follow(second)
    assert drawn == whole


def test_the_backbone_has_a_rate_of_its_own(net):
    optimizer = training.make_optimizer(net, lr=1e-3, backbone_lr=1e-5)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert {rates[id(p)] for p in net.backbone.parameters()} == {1e-5}
    assert {rates[id(p)] for p in net.head.parameters()} == {1e-3}
    assert len(rates) == len(list(net.parameters()))


def test_the_sixth_stage_is_new_and_learns_at_the_rate_of_what_is_new():
    network = ICNet(Config(size=32, width=0.125))
    optimizer = training.make_optimizer(network, lr=1e-3, backbone_lr=1e-5)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert {rates[id(p)] for p in network.backbone.vgg.parameters()} == {1e-5}
    assert {rates[id(p)] for p in network.backbone.top.parameters()} == {1e-3}
    assert len(rates) == len(list(network.parameters()))


def test_schedules_rise_and_fall_where_they_say(net):
    def rates(kind, warmup):
        optimizer = training.make_optimizer(net, lr=1.0)
        plan = training.make_schedule(optimizer, kind, 100, warmup)
        found = []
        for _ in range(100):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            plan.step()
        return found

    assert rates("constant", 0.0) == [1.0] * 100
    warm = rates("constant", 0.1)
    assert warm[0] < 0.01
    assert warm[10:] == pytest.approx([1.0] * 90)
    cosine = rates("cosine", 0.1)
    assert max(cosine) == pytest.approx(1.0)
    assert cosine.index(max(cosine)) == 10
    assert cosine[-1] < 0.01
    cycle = rates("one_cycle", 0.2)
    assert cycle.index(max(cycle)) in (19, 20)
    assert cycle[-1] < 0.01


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precisions_train_near_float32(net, precision):
    exact, rough = make(copy.deepcopy(net)), make(copy.deepcopy(net), precision=precision)
    assert float(rough.step([batch(1)])) == pytest.approx(float(exact.step([batch(1)])), abs=0.02)


def test_averaged_weights_follow_the_trained_ones_slowly(net):
    trained = make(net, ema_decay=0.5)
    follow(trained, epochs=1)
    first = net.head.weight.detach().clone()
    trained.step([batch(1)])
    moved = (net.head.weight - first).abs().max()
    assert 0 < (trained.best_model.head.weight - net.head.weight).abs().max() < 10 * moved


def test_a_loss_that_is_no_number_is_an_error_that_says_what_to_try():
    with pytest.raises(training.DivergedError, match=r"epoch 3.*lower `lr`"):
        training.check_losses([0.5, float("nan")], 3)
