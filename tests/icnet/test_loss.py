"""Equation 3."""

import pytest
import torch
from jaxtyping import TypeCheckError

from icnet.loss import combined_loss, iou_loss


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
    for loss in (iou_loss, combined_loss):
        torch.testing.assert_close(loss(maps, masks), loss(maps, small))


def test_shapes_in_signatures_are_checked_while_tests_run():
    with pytest.raises(TypeCheckError):
        iou_loss(torch.rand(2, 3, 4, 4), torch.rand(1, 1, 4, 4))


def test_the_combined_loss_is_small_for_right_maps_and_large_for_wrong_ones():
    masks = torch.zeros(2, 1, 8, 8)
    masks[:, :, 2:5, 2:5] = 1
    right = (masks * 0.98 + 0.01).repeat(1, 4, 1, 1)
    assert combined_loss(right, masks) < 0.2
    assert combined_loss(1 - right, masks) > 3


def test_the_combined_loss_has_a_gradient_on_an_empty_mask():
    maps = torch.full((1, 1, 8, 8), 0.5, requires_grad=True)
    combined_loss(maps, torch.zeros(1, 1, 8, 8)).backward()
    assert (maps.grad > 0).all()


def test_the_combined_loss_has_the_gradient_of_its_formula():
    draw = torch.Generator().manual_seed(0)
    maps = (torch.rand(2, 2, 3, 3, generator=draw, dtype=torch.double) * 0.8 + 0.1).requires_grad_()
    masks = torch.rand(2, 1, 3, 3, generator=draw, dtype=torch.double).round()
    assert torch.autograd.gradcheck(combined_loss, (maps, masks))
