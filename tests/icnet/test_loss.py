"""Equation 3."""

import pytest
import torch
from jaxtyping import TypeCheckError

from icnet.loss import combined_loss, iou_loss, structure_loss


def test_a_perfect_map_costs_nothing_and_an_opposite_one_costs_1():
    masks = (torch.rand(3, 1, 8, 8) > 0.5).float()
    assert iou_loss(masks.repeat(1, 4, 1, 1), masks) < 1e-6
    assert iou_loss(1 - masks, masks) == 1


def test_the_mean_is_over_images_and_maps():
    masks = torch.ones(2, 1, 4, 4)
    maps = torch.tensor([[0.5, 1.0], [0.25, 0.25]]).view(2, 2, 1, 1).expand(2, 2, 4, 4)
    torch.testing.assert_close(iou_loss(maps, masks), torch.tensor(0.5))


def test_soft_masks_are_not_binarised():
    masks = torch.full((1, 1, 4, 4), 0.5)
    torch.testing.assert_close(iou_loss(torch.ones(1, 1, 4, 4), masks), torch.tensor(0.5))


def test_empty_masks_and_maps_are_a_match_without_nan():
    empty = torch.zeros(2, 1, 4, 4)
    maps = empty.clone().requires_grad_()
    loss = iou_loss(maps, empty)
    loss.backward()
    assert loss == 0
    assert torch.isfinite(maps.grad).all()


def test_the_gradient_is_right():
    maps = torch.rand(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    masks = torch.rand(2, 1, 4, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(iou_loss, (maps, masks))


def test_larger_masks_are_shrunk_to_shares():
    maps, masks = torch.rand(2, 4, 3, 3), torch.zeros(2, 1, 6, 6)
    masks[:, :, :3, :3] = 1
    small = torch.tensor([[1.0, 0.5, 0.0], [0.5, 0.25, 0.0], [0.0, 0.0, 0.0]]).expand(2, 1, 3, 3)
    for loss in (iou_loss, combined_loss, structure_loss):
        torch.testing.assert_close(loss(maps, masks), loss(maps, small))


def test_shapes_in_signatures_are_checked_while_tests_run():
    with pytest.raises(TypeCheckError):
        iou_loss(torch.rand(2, 3, 4, 4), torch.rand(1, 1, 4, 4))


both = pytest.mark.parametrize("loss", [combined_loss, structure_loss])


@both
def test_the_loss_is_small_for_right_maps_and_large_for_wrong_ones(loss):
    masks = torch.zeros(2, 1, 8, 8)
    masks[:, :, 2:5, 2:5] = 1
    right = (masks * 0.98 + 0.01).repeat(1, 4, 1, 1)
    assert loss(right, masks) < 0.2
    assert loss(1 - right, masks) > 3


@both
def test_there_is_a_gradient_on_an_empty_mask(loss):
    maps = torch.full((1, 1, 8, 8), 0.5, requires_grad=True)
    loss(maps, torch.zeros(1, 1, 8, 8)).backward()
    assert (maps.grad > 0).all()


@both
def test_the_gradient_is_that_of_the_formula(loss):
    draw = torch.Generator().manual_seed(0)
    maps = (torch.rand(2, 2, 16, 16, generator=draw, dtype=torch.double) * 0.8 + 0.1).requires_grad_()
    masks = torch.rand(2, 1, 16, 16, generator=draw, dtype=torch.double).round()
    assert torch.autograd.gradcheck(loss, (maps, masks))


def test_the_combined_loss_is_the_sum_of_its_three_terms():
    maps = torch.tensor([0.8, 0.6, 0.3, 0.1]).view(1, 1, 2, 2)
    masks = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(1, 1, 2, 2)
    entropy = -torch.tensor([0.8, 0.6, 0.7, 0.9]).log().mean()
    foreground, background = 1 - (1.4 + 1) / (2.4 + 1), 1 - (1.6 + 1) / (2.6 + 1)
    torch.testing.assert_close(combined_loss(maps, masks), entropy + foreground + background / 2)


def test_in_the_structure_loss_an_error_at_an_edge_costs_more_than_one_far_from_it():
    masks = torch.zeros(1, 1, 32, 32)
    masks[:, :, :, :16] = 1
    near, far = (masks * 0.9 + 0.05 for _ in range(2))
    near[..., 15], far[..., 3] = 0.05, 0.05
    assert structure_loss(near, masks) > structure_loss(far, masks) + 0.02
    torch.testing.assert_close(combined_loss(near, masks), combined_loss(far, masks))
