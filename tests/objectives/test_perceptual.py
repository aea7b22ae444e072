"""The loss on features of another network."""

from __future__ import annotations

import pytest
import torch

from gptface.errors import InputError
from gptface.objectives import feature_loss


def test_it_is_two_minus_twice_the_cosine() -> None:
    generator = torch.Generator().manual_seed(0)
    found, wanted = (torch.randn(2, 5, 3, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    cosine = torch.nn.functional.cosine_similarity(found, wanted, dim=1)
    torch.testing.assert_close(feature_loss([found], [wanted]).double(), (2 - 2 * cosine).mean(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(feature_loss([found], [7 * found]), torch.zeros(()), rtol=0, atol=1e-6)
    torch.testing.assert_close(feature_loss([found, found], [-found, found]), torch.tensor(2.0), rtol=1e-5, atol=0)


def test_only_what_is_found_learns() -> None:
    found, wanted = (torch.randn(1, 3, 2, 2, requires_grad=True) for _ in range(2))
    feature_loss([found], [wanted]).backward()
    assert found.grad is not None and bool(found.grad.any()) and wanted.grad is None


def test_maps_that_do_not_fit() -> None:
    with pytest.raises(InputError, match=r"same shapes, got \[\(1, 2, 3, 3\)\] and \[\(1, 2, 3, 4\)\]"):
        feature_loss([torch.zeros(1, 2, 3, 3)], [torch.zeros(1, 2, 3, 4)])
    with pytest.raises(InputError, match="same shapes"):
        feature_loss([], [])
