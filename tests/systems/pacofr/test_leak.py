"""The measure of how much of a patch its own token gives away."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gptface.systems.pacofr.leak import linear_leak


def test_it_is_the_adjusted_share_of_variance_of_a_least_squares_fit() -> None:
    torch.manual_seed(0)
    tokens, noise = torch.randn(200, 6) + 3, torch.randn(200, 9)
    targets = tokens @ torch.randn(6, 9) + 2 * noise + 5
    design = np.hstack([tokens.double().numpy(), np.ones((200, 1))])
    wanted = targets.double().numpy()
    fit, *_ = np.linalg.lstsq(design, wanted, rcond=None)
    unexplained = ((wanted - design @ fit) ** 2).sum() / ((wanted - wanted.mean(0)) ** 2).sum()
    assert float(linear_leak(tokens, targets)) == pytest.approx(1 - unexplained * 199 / 193, abs=1e-3)


def test_everything_is_1_and_nothing_is_0() -> None:
    torch.manual_seed(0)
    tokens = torch.randn(3000, 8)
    assert float(linear_leak(tokens, tokens @ torch.randn(8, 20))) > 0.999
    assert float(linear_leak(tokens, torch.randn(3000, 20))) < 0.01
    assert float(linear_leak(torch.ones(3000, 8), torch.randn(3000, 20))) < 0.01  # a mask token
    assert float(linear_leak(tokens[:, :1].expand(-1, 8), tokens)) == pytest.approx(1 / 8, abs=0.02)


def test_padding_does_not_count_and_too_few_rows_give_no_number() -> None:
    torch.manual_seed(0)
    tokens = torch.randn(50, 4)
    targets = tokens @ torch.randn(4, 6) + torch.randn(50, 6)
    usable = torch.arange(50) % 3 > 0
    torch.testing.assert_close(linear_leak(tokens, targets, usable), linear_leak(tokens[usable], targets[usable]))
    assert math.isnan(linear_leak(tokens[:5], targets[:5]))
    assert math.isnan(linear_leak(tokens[:0], targets[:0]))
