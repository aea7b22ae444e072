"""The incubation loss: beliefs named after the code that is nearest to the pixels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gptface.objectives import incubation_loss


def by_definition(queries: Tensor, targets: Tensor, codes: Tensor, temperature: float) -> Tensor:
    """(R,) float64, with every distance written out."""
    queries, targets, codes = queries.double(), targets.double(), codes.double()
    nearest = (targets[:, None] - codes).square().sum(2).argmin(1)
    beliefs = (-(queries[:, None] - codes).square().sum(2) / temperature).softmax(1)
    return -beliefs[torch.arange(len(queries)), nearest].log()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 7), st.integers(1, 6), st.sampled_from([0.05, 0.5, 3.0]), st.integers(0, 999))
def test_it_is_its_definition(rows: int, codes: int, width: int, temperature: float, seed: int) -> None:
    torch.manual_seed(seed)
    queries, targets = torch.randn(rows, width) / width, torch.randn(rows, width) / width
    codebook = torch.randn(codes, width) / width
    wanted = by_definition(queries, targets, codebook, temperature)
    found = incubation_loss(queries, targets, codebook, temperature)
    torch.testing.assert_close(found.double(), wanted.mean(), rtol=1e-4, atol=1e-5)
    half = incubation_loss(queries, targets, codebook, temperature, torch.tensor(2.0 * rows))
    torch.testing.assert_close(half, found / 2)


def test_only_the_queries_learn() -> None:
    queries, targets, codes = (torch.randn(5, 4, requires_grad=True) for _ in range(3))
    incubation_loss(queries, targets, codes, 0.5).backward()
    assert queries.grad is not None and queries.grad.any()
    assert targets.grad is None and codes.grad is None


def test_padding_does_not_count() -> None:
    torch.manual_seed(0)
    queries, targets, codes = torch.randn(6, 4), torch.randn(6, 4), torch.randn(5, 4)
    usable = torch.tensor([True, True, False, True, False, False])
    found = incubation_loss(queries, targets, codes, 0.5, usable=usable)
    torch.testing.assert_close(found, incubation_loss(queries[usable], targets[usable], codes, 0.5))


def test_lower_precision_around_it_does_not_reach_it() -> None:
    torch.manual_seed(0)
    queries, targets, codes = torch.randn(6, 8), torch.randn(6, 8), torch.randn(5, 8)
    wanted = incubation_loss(queries, targets, codes, 0.05)
    with torch.autocast("cpu", torch.bfloat16):
        found = incubation_loss(queries, targets, codes, 0.05)
    assert float(found) == pytest.approx(float(wanted), rel=1e-6)
