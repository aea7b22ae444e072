"""The formulas that the rounding study compares are the same gradients."""

from __future__ import annotations

import pytest
import torch

from benchmarks.attention_rounding import gradients
from gptface.ops import IntervalMask


@pytest.mark.parametrize("weights_from", ["softmax", "lse"])
@pytest.mark.parametrize("delta_from", ["weights", "out"])
def test_every_formula_is_the_gradient(weights_from: str, delta_from: str) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value, grad = (
        torch.randn(1, 2, 9, 16, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(4)
    )
    visible = IntervalMask.causal(9).to_dense()[:, None]
    out = torch.softmax((query @ key.transpose(-1, -2) * 0.25).masked_fill(~visible, -torch.inf), -1) @ value
    expected = torch.autograd.grad(out, (query, key, value), grad)
    found = gradients((query, key, value, grad), visible, weights_from, delta_from)
    for got, want in zip(found, expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
