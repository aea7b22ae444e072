"""The pixel loss of masked patches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gptface.objectives import normalised_patches, patch_loss


def test_normalised_patches_have_mean_0_and_standard_deviation_1_whatever_the_light() -> None:
    torch.manual_seed(0)
    patches = torch.rand(2, 5, 48) * 1.2 - 0.8
    made = normalised_patches(patches)
    wanted = patches.double().numpy()
    spread = np.sqrt(wanted.var(-1, ddof=1, keepdims=True) + 1e-2)
    np.testing.assert_allclose(made, (wanted - wanted.mean(-1, keepdims=True)) / spread, rtol=1e-5, atol=1e-5)
    assert made.mean(-1).abs().max() < 1e-5
    torch.testing.assert_close(made.var(-1), torch.ones(2, 5), rtol=0.1, atol=0)
    torch.testing.assert_close(normalised_patches(patches + 0.4), made, rtol=1e-4, atol=1e-4)


def test_a_flat_patch_is_zero_and_not_noise() -> None:
    assert not normalised_patches(torch.full((3, 48), 0.7)).any()
    grey_levels = torch.full((1, 48), 0.5) + torch.randint(0, 2, (1, 48)) / 127.5
    assert normalised_patches(grey_levels).abs().max() < 0.3


def test_the_loss_is_the_mean_square_error() -> None:
    torch.manual_seed(1)
    predicted, target = torch.randn(7, 12), torch.randn(7, 12)
    wanted = float(np.mean((predicted.double().numpy() - target.double().numpy()) ** 2))
    assert float(patch_loss(predicted, target)) == pytest.approx(wanted, rel=1e-6)
    assert float(patch_loss(predicted, target, torch.tensor(14.0))) == pytest.approx(wanted / 2, rel=1e-6)


def test_padding_does_not_count_whatever_it_holds() -> None:
    torch.manual_seed(2)
    predicted, target = torch.randn(7, 12, requires_grad=True), torch.randn(7, 12)
    usable = torch.tensor([True] * 5 + [False] * 2)
    loss = patch_loss(predicted, target, usable=usable)
    torch.testing.assert_close(loss, patch_loss(predicted[:5], target[:5]))
    loss.backward()
    assert predicted.grad is not None and not predicted.grad[5:].any()
    with_normaliser = patch_loss(predicted, target, torch.tensor(10.0), usable)
    torch.testing.assert_close(with_normaliser, loss / 2)
    assert patch_loss(predicted, target, usable=torch.zeros(7, dtype=torch.bool)) == 0
