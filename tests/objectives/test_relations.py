"""The relation loss, against two loops over pairs of patches."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cosine_similarity

from gptface.objectives import relation_count, relation_loss


def by_definition(predicted: Tensor, target: Tensor, components: Tensor, masked: Tensor) -> tuple[float, int]:
    """The sum over pairs and their number, in float64."""
    predicted, target = predicted.double(), target.double()
    total, count = 0.0, 0
    for b in range(len(target)):
        shown = [predicted[b, n] if masked[b, n] else target[b, n] for n in range(target.shape[1])]
        for i in range(len(shown)):
            for j in range(len(shown)):
                if i != j and components[b, i] and components[b, j] and (masked[b, i] or masked[b, j]):
                    made = cosine_similarity(shown[i], shown[j], dim=0)
                    true = cosine_similarity(target[b, i], target[b, j], dim=0)
                    total += float((made - true) ** 2)
                    count += 1
    return total, count


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 5), st.integers(0, 999))
def test_it_is_its_definition(batch: int, patches: int, width: int, seed: int) -> None:
    torch.manual_seed(seed)
    predicted, target = torch.randn(batch, patches, width), torch.randn(batch, patches, width)
    components, masked = torch.rand(batch, patches) < 0.7, torch.rand(batch, patches) < 0.5
    total, count = by_definition(predicted, target, components, masked)
    assert float(relation_count(components, masked)) == count
    found = float(relation_loss(predicted, target, components, masked))
    assert found == pytest.approx(total / max(count, 1), rel=1e-4, abs=1e-6)
    assert float(relation_loss(predicted, target, components, masked, torch.tensor(7.0))) == pytest.approx(
        total / 7, rel=1e-4, abs=1e-6
    )


def test_what_is_predicted_of_visible_patches_and_outside_of_components_is_not_looked_at() -> None:
    torch.manual_seed(0)
    target = torch.randn(1, 4, 3)
    components, masked = torch.tensor([[True, True, True, False]]), torch.tensor([[True, True, False, True]])
    predicted = torch.randn(1, 4, 3, requires_grad=True)
    relation_loss(predicted, target, components, masked).backward()
    assert predicted.grad is not None
    assert predicted.grad[0, :2].any(1).all() and not predicted.grad[0, 2:].any()


def test_the_truth_has_no_loss_and_nothing_to_compare_has_none() -> None:
    target = torch.randn(2, 5, 3)
    masked = torch.ones(2, 5, dtype=torch.bool)
    assert float(relation_loss(target, target, masked, masked)) < 1e-12
    predicted = torch.zeros(2, 5, 3, requires_grad=True)  # a cosine of nothing
    loss = relation_loss(predicted, target, ~masked, masked)
    assert loss == 0
    relation_loss(predicted, target, masked, masked).backward()
    assert predicted.grad is not None and predicted.grad.isfinite().all()
