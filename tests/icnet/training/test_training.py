"""The step and the loop, in one process and without Ray, on a small network with batch norm."""

import copy
import itertools

import pytest
import torch
from torch import nn

from icnet import loss, training
from icnet.config import Config
from icnet.inference import compile_parts
from icnet.model import ICNet
from icnet.training import Batch, EpochLayout, Training

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


def make(model, **options):
    optimizer = training.make_optimizer(model, lr=1e-2)
    return Training(model, optimizer, training.make_schedule(optimizer), layout=EpochLayout(STEPS), **options)


def follow(trained, epochs=2):
    """The losses of a training whose plan is the numbers of its steps."""
    steps = training.run_steps(
        trained,
        epochs,
        plan=lambda epoch, position: [STEPS * epoch + number for number in range(position, STEPS)],
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


def test_joint_batches_give_the_gradient_of_their_weighted_losses_after_one_pass():
    torch.manual_seed(0)
    network, batches = ICNet(Config(size=64, width=0.125)), [draw_group(1, 2, 0.25), draw_group(2, 3, 0.75)]
    other = copy.deepcopy(network)
    optimizer = torch.optim.SGD(network.parameters(), 1.0)
    trained = Training(network, optimizer, training.make_schedule(optimizer), joint=True)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    found = trained.step(batches)
    stepped = [old - new.detach() for old, new in zip(before, network.parameters(), strict=True)]
    whole = Batch.merge(batches)
    parts = other.train()(whole.images, whole.sisms, sizes=whole.sizes).split([2, 3])
    losses = [one.weight * loss.iou_loss(part, one.masks) for part, one in zip(parts, batches, strict=True)]
    torch.stack(losses).sum().backward()
    assert float(found) == pytest.approx(float(sum(losses)))
    expected = [parameter.grad for parameter in other.parameters()]
    torch.testing.assert_close(stepped, expected, rtol=1e-3, atol=1e-5)
    apart = Training(model := copy.deepcopy(other), optimizer := torch.optim.SGD(model.parameters(), 1.0), None)
    apart.schedule = training.make_schedule(optimizer)
    assert float(apart.step(batches)) != pytest.approx(float(found), abs=1e-6), "batch norms saw all images together"


def draw_group(seed, count, weight):
    draw = torch.Generator().manual_seed(seed)
    images, sisms, masks = (torch.rand(count, channels, 64, 64, generator=draw) for channels in (3, 1, 1))
    return Batch(images, sisms, masks.round(), weight)


def test_averaged_weights_of_a_compiled_network_are_compiled_too():
    network = ICNet(Config(size=64, width=0.125))
    assert make(network, ema_decay=0.5).averaged.module.decoder._compiled_call_impl is None
    compile_parts(network)
    averaged = make(network, ema_decay=0.5).averaged.module
    assert averaged.decoder._compiled_call_impl is not None
    assert averaged.backbone._compiled_call_impl is not None


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
            layout=EpochLayout(STEPS),
        )

    def losses(trained):
        steps = training.run_steps(
            trained,
            3,
            lambda epoch, position: [7 * epoch + n for n in range(position, STEPS)],
            lambda _, s: ([batch(i)] for i in s),
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
    steps = training.run_steps(first, 2, lambda _, done: list(range(done, STEPS)), lambda _, s: ([batch(i)] for i in s))
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


@pytest.mark.parametrize("kind", ["constant", "cosine", "one_cycle"])
def test_another_number_of_ranks_repeats_and_skips_no_batch_and_keeps_the_schedule_in_its_length(net, tmp_path, kind):
    """1, then 2, then 1 rank; here one process accumulates the batches of both."""
    epochs, batches = 2, 7
    used, rates = [], []

    def continue_with(ranks, steps):
        layout = EpochLayout(batches, ranks)
        optimizer = training.make_optimizer(model := Net(), lr=1e-2)
        schedule = training.make_schedule(optimizer, kind, epochs * layout.num_steps, 0.25)
        trained = Training(model, optimizer, schedule, layout=layout)
        if (tmp_path / training.STATE_FILE).is_file():
            trained.load(tmp_path)

        def plan(epoch, position):
            every = [(epoch, number) for number in range(position, batches)]
            return [every[start : start + ranks] for start in range(0, len(every), ranks)]

        def load(_, planned):
            for step in planned:
                used.extend(step)
                rates.append(optimizer.param_groups[0]["lr"])
                yield [batch(7 * epoch + number, weight=1 / len(step)) for epoch, number in step]

        done = list(itertools.islice(training.run_steps(trained, epochs, plan, load), steps))
        trained.save(tmp_path)
        return done

    continue_with(1, 3)
    continue_with(2, 3)  # an odd batch ends the first epoch
    last = continue_with(1, None)[-1]
    assert used == [(epoch, number) for epoch in range(epochs) for number in range(batches)]
    assert (last.epoch, last.ends_epoch) == (epochs, True)
    if kind == "one_cycle":
        assert rates[-1] < 0.1 * max(rates)


def test_one_cycle_with_a_rise_of_exactly_one_step_has_a_rate(net):
    optimizer = training.make_optimizer(net, lr=1.0)
    schedule = training.make_schedule(optimizer, "one_cycle", 20, 0.05)
    rates = []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert max(rates) > 0.9
    assert rates[-1] < 0.01


def test_batch_norms_of_frozen_parts_do_not_change(net):
    net.norm.requires_grad_(False)
    before = copy.deepcopy(net.norm.state_dict())
    follow(make(net), epochs=1)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.norm.state_dict().items())
    assert not net.norm.training
    assert net.head.training


def test_weight_decay_acts_on_everything_unless_biases_and_norms_are_left_out(net):
    everything = training.make_optimizer(net, weight_decay=0.1)
    assert {group["weight_decay"] for group in everything.param_groups} == {0.1}
    some = training.make_optimizer(net, weight_decay=0.1, decay_all=False)
    decay = {id(p): group["weight_decay"] for group in some.param_groups for p in group["params"]}
    assert all(decay[id(p)] == (0.1 if p.ndim > 1 else 0.0) for p in net.parameters())
    assert len(decay) == len(list(net.parameters()))
    assert training.read_rates(some) == {"new": 1e-5, "backbone": 1e-5}


def test_a_step_with_overflowing_gradients_leaves_weights_schedule_and_average(net):
    trained = make(net, precision="fp16", ema_decay=0.5)
    trained.schedule = training.make_schedule(trained.optimizer, "cosine", 100)
    trained.step([batch(1)])
    before, steps = copy.deepcopy(net.state_dict()), trained.schedule.last_epoch
    trained.scaler.update(2.0**120)
    trained.step([batch(2)])
    assert all(torch.equal(before[name], parameter) for name, parameter in net.named_parameters())
    assert trained.schedule.last_epoch == steps
    assert int(trained.averaged.n_averaged) == 1
    trained.scaler.update(1.0)
    trained.step([batch(2)])
    assert trained.schedule.last_epoch == steps + 1


@pytest.mark.parametrize("name", [training.STATE_FILE, training.MODEL_FILE, training.EMA_FILE])
def test_an_incomplete_checkpoint_is_recognized(net, tmp_path, name):
    make(net, ema_decay=0.5).save(tmp_path, metrics={"score": 1.0})
    assert training.read_extra(tmp_path) == {"metrics": {"score": 1.0}}
    content = (tmp_path / name).read_bytes()
    for kept in (0, 7, len(content) // 2, len(content) - 1):
        (tmp_path / name).write_bytes(content[:kept])
        with pytest.raises(training.DamagedCheckpointError):
            training.read_extra(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(training.DamagedCheckpointError):
        training.read_extra(tmp_path)
