import torch

from icnet import images, initialization, whitening
from icnet.config import Config
from icnet.model import ICNet
from tests.helpers import photographs


def network():
    torch.manual_seed(0)
    return ICNet(Config(size=96, width=0.25, init="delta"))


def pictures():
    arrays = [photographs.photograph(seed, 96, 96)[0] for seed in range(8)]
    return torch.cat([images.normalize(array[None]) for array in arrays])


def similarity(features):
    """Mean cosine of the features of different cells."""
    cells = torch.nn.functional.normalize(features.permute(0, 2, 3, 1).flatten(0, 2), dim=1)
    return float((cells @ cells.T).mean())


def test_a_locally_orthogonal_convolution_all_but_turns_each_cell():
    weight = torch.empty(24, 24, 3, 3)
    initialization.fill_local_orthogonal(weight)
    center = weight[:, :, 1, 1].clone()
    turned = center @ center.T / 2
    assert torch.allclose(turned, torch.eye(24), atol=0.15)
    weight[:, :, 1, 1] = 0
    assert weight.norm() < 0.2 * center.norm()


def test_whitened_features_point_every_way_where_untrained_ones_agree():
    model, inputs = network(), pictures()
    with torch.no_grad():
        before = [similarity(model.compress[k](model.backbone(inputs).high[int(k) - 4])) for k in ("4", "5")]
        whitening.whiten_compression(model, inputs)
        after = [similarity(model.compress[k](model.backbone(inputs).high[int(k) - 4])) for k in ("4", "5")]
    assert all(abs(late) < 0.1 < early for early, late in zip(before, after, strict=True))


def test_whitening_depends_on_nothing_but_weights_and_images():
    first, second = network(), network()
    for model in (first, second):
        whitening.whiten_compression(model, pictures())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_whitening_takes_any_number_of_images_and_moves_no_running_statistics():
    model, inputs = network(), torch.cat([pictures(), pictures().flip(3)])[:11]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    whitening.whiten_compression(model, inputs)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {f"compress.{stage}.{kind}" for stage in (4, 5) for kind in ("weight", "bias")}


def test_half_whitened_components_keep_the_order_of_their_variances():
    model, inputs = network(), pictures()
    whitening.whiten_compression(model, inputs, whitening.PRETRAINED_POWER)
    with torch.no_grad():
        cells = model.compress["5"](model.backbone(inputs).high[1]).permute(0, 2, 3, 1).flatten(0, 2)
    spread = torch.cov(cells.T)
    variances = spread.diag()
    assert (variances[:-1] >= variances[1:] * 0.999).all() and variances[0] > 2 * variances[10]
    assert (spread - variances.diag()).abs().max() < 0.01 * variances[0]
