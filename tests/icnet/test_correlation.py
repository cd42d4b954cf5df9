"""Equations 1 and 2 and section 3.4 as functions: what must hold for any features, SISMs and groups."""

import pytest
import torch
from torch.nn import functional

from icnet import correlation


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def group(n=4, c=6, h=3, w=3):
    features = functional.normalize(torch.randn(n, c, h, w, dtype=torch.float64), dim=1)
    return features, torch.rand(n, 1, h, w, dtype=torch.float64)


def plain_csa(features, sivs, alpha, raw=False):
    """Equation 2 as it is printed, with its n x n x p."""
    correlations = torch.einsum("mc,nchw->nmhw", sivs, features).flatten(2)
    hats = functional.normalize(correlations, dim=2, eps=1e-12)
    weights = torch.softmax(alpha * (hats @ hats.transpose(1, 2)).sum(dim=2), dim=1)
    maps = torch.einsum("nm,nmp->np", weights, correlations if raw else hats)
    low, high = maps.amin(1, keepdim=True), maps.amax(1, keepdim=True)
    return ((maps - low) / (high - low + 1e-12)).view(len(features), 1, *features.shape[2:]), weights


def test_nmap_with_ones_is_average_pooling():
    features, sisms = group()
    pooled = functional.normalize(features.mean(dim=(2, 3)), dim=1)
    torch.testing.assert_close(correlation.nmap(features, torch.ones_like(sisms)), pooled)


def test_nmap_sees_only_what_the_sism_shows():
    features, sisms = group()
    sisms = (sisms > 0.5).double()
    hidden = torch.where(sisms.bool(), features, torch.randn_like(features))
    torch.testing.assert_close(correlation.nmap(hidden, sisms), correlation.nmap(features, sisms))


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.5])
def test_csa_is_equation_2_without_its_matrices(alpha, raw):
    features, sisms = group(5, 8, 4, 3)
    sivs = correlation.nmap(features, sisms)
    for found, wanted in zip(
        correlation.compute_csa(features, sivs, alpha, raw), plain_csa(features, sivs, alpha, raw), strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_csa_is_the_same_however_many_correlations_are_held_at_once(monkeypatch):
    features, sisms = group(7)
    sivs = correlation.nmap(features, sisms)
    wanted = correlation.compute_csa(features, sivs)
    monkeypatch.setattr(correlation, "MAX_CORRELATIONS", 2 * features.shape[0] * 9)
    for found, whole in zip(correlation.compute_csa(features, sivs), wanted, strict=True):
        torch.testing.assert_close(found, whole)


@pytest.mark.parametrize("size", [5, 50])
def test_the_norms_of_very_many_correlation_maps_are_the_norms_of_the_maps(size):
    features = correlation.l2_normalize(torch.randn(2, 6, 5, 5, dtype=torch.float64), dim=1)
    sivs = correlation.l2_normalize(torch.randn(size, 6, dtype=torch.float64), dim=1)
    sivs[1] = 0
    maps = torch.einsum("nchw,mc->nmhw", features, sivs)
    found = correlation._compute_norms(correlation.flatten_cells(features), sivs)
    torch.testing.assert_close(found, maps.flatten(2).norm(dim=2), rtol=1e-12, atol=1e-12)


def test_csa_maps_and_weights_follow_a_reordering_of_the_group():
    features, sisms = group(5)
    order = torch.randperm(5)
    maps, weights = correlation.compute_csa(features, correlation.nmap(features, sisms))
    moved, shares = correlation.compute_csa(features[order], correlation.nmap(features[order], sisms[order]))
    torch.testing.assert_close(moved, maps[order])
    torch.testing.assert_close(shares, weights[order][:, order])


def test_csa_maps_span_0_to_1_and_weights_sum_to_1():
    features, sisms = group()
    maps, weights = correlation.compute_csa(features, correlation.nmap(features, sisms))
    torch.testing.assert_close(maps.amin(dim=(1, 2, 3)), torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(maps.amax(dim=(1, 2, 3)), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(4, dtype=torch.float64))


def test_an_siv_unlike_the_others_weighs_least():
    features, sisms = group(5, 8, 4, 4)
    sivs = correlation.nmap(features, sisms)[:1].repeat(5, 1)
    sivs[2] = -sivs[2]
    _, weights = correlation.compute_csa(features, sivs)
    assert (weights.argmin(dim=1) == 2).all()


def test_sisms_of_zeros_give_zeros_and_finite_gradients():
    features, sisms = group()
    features.requires_grad_()
    maps, weights = correlation.compute_csa(features, correlation.nmap(features, torch.zeros_like(sisms)))
    (maps.sum() + weights.square().sum()).backward()
    assert (maps == 0).all()
    assert torch.isfinite(features.grad).all()


def test_scf_holds_every_pair_of_cells():
    features, _ = group(2, 6, 3, 4)
    found = correlation.compute_scf(features).flatten(2)
    flat = features.flatten(2)
    torch.testing.assert_close(found, flat.transpose(1, 2) @ flat)


def test_rscf_is_the_scf_with_its_channels_in_the_order_of_the_csa_map():
    features, maps = group(3, 6, 4, 4)
    order = maps.flatten(1).argsort(dim=1, descending=True)
    wanted = torch.stack([part[rank] for part, rank in zip(correlation.compute_scf(features), order, strict=True)])
    torch.testing.assert_close(correlation.compute_rscf(features, maps), wanted)


def test_rscf_of_a_mirrored_image_is_mirrored_and_its_channels_keep_their_places():
    features, maps = group(2, 6, 4, 4)
    mirrored = correlation.compute_rscf(features.flip(3), maps.flip(3))
    torch.testing.assert_close(mirrored, correlation.compute_rscf(features, maps).flip(3))
    assert not torch.allclose(correlation.compute_scf(features.flip(3)), correlation.compute_scf(features).flip(3))


def test_projected_is_a_convolution_of_the_rscf_that_was_never_built():
    features, maps = group(3, 6, 4, 4)
    weight = torch.randn(5, 16, dtype=torch.float64)
    wanted = functional.conv2d(correlation.compute_rscf(features, maps), weight[:, :, None, None])
    found = correlation.project_scf(weight, correlation.rearrange_cells(features, maps), features)
    torch.testing.assert_close(found, wanted)


def test_gradients_are_right_at_3_by_3():
    features = torch.randn(3, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    sisms = torch.rand(3, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    alpha = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 9, dtype=torch.float64, requires_grad=True)

    def block(features, sisms, alpha, weight):
        units = correlation.l2_normalize(features, dim=1)
        maps, _ = correlation.compute_csa(units, correlation.nmap(units, sisms), alpha)
        return correlation.project_scf(weight, correlation.rearrange_cells(units, maps), units) * maps

    assert torch.autograd.gradcheck(block, (features, sisms, alpha, weight))


def test_cues_of_parts_merge_into_the_cues_of_the_group():
    parts = [correlation.Cues((torch.rand(n, 2, 3), torch.rand(n, 2, 4))) for n in (2, 1, 3)]
    merged = correlation.Cues.merge(parts)
    assert len(merged) == 6
    torch.testing.assert_close(merged.sivs[1], torch.cat([part.sivs[1] for part in parts]))
    assert correlation.Cues.merge([merged.to("cpu")]).sivs[0].device.type == "cpu"
