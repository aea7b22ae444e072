"""Cross-entropy at chosen positions against the dense loss it stands for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from gptface.errors import InputError
from gptface.objectives import gathered_cross_entropy, gathered_token_losses

B, S, C, V = 3, 5, 8, 11


def dense(
    hidden: torch.Tensor, positions: torch.Tensor, labels: torch.Tensor, head: nn.Module
) -> tuple[torch.Tensor, torch.Tensor]:
    """All logits, then an ignore index: what everybody else computes."""
    targets = torch.full((B * S,), -100)
    chosen = positions >= 0
    targets[positions[chosen]] = labels[chosen]
    logits = head(hidden).flatten(0, 1)
    right = (logits.argmax(-1) == targets).sum() / max(1, int(chosen.sum()))
    return functional.cross_entropy(logits, targets, ignore_index=-100), right


@settings(deadline=None, max_examples=60)
@given(chosen=st.sets(st.integers(0, B * S - 1), min_size=1), padding=st.integers(0, 4), seed=st.integers(0, 10**6))
def test_equal_to_the_dense_loss_with_gradients(chosen: set[int], padding: int, seed: int) -> None:
    torch.manual_seed(seed)
    head = nn.Linear(C, V)
    positions = torch.tensor([*chosen, *[-1] * padding])[torch.randperm(len(chosen) + padding)]
    labels = torch.randint(0, V, positions.shape)
    labels[positions < 0] = 10**6  # whatever stands there must not be looked at
    results = []
    for function in (dense, lambda *arguments: gathered_cross_entropy(*arguments)):
        hidden = torch.randn(B, S, C, generator=torch.Generator().manual_seed(seed)).requires_grad_()
        head.zero_grad()
        loss, accuracy = function(hidden, positions, labels, head)
        loss.backward()
        results.append((loss.detach(), accuracy, hidden.grad, head.weight.grad, head.bias.grad))
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected.to(found.dtype), atol=1e-6, rtol=1e-5)


def test_rows_of_minus_one_add_no_gradient() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(B, S, C, requires_grad=True)
    head = nn.Linear(C, V)
    loss, accuracy = gathered_cross_entropy(hidden, torch.full((4,), -1), torch.zeros(4, dtype=torch.int64), head)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert float(accuracy) == 0.0
    assert hidden.grad is not None and not hidden.grad.any()
    assert head.weight.grad is not None and not head.weight.grad.any()


def test_an_infinite_loss_nobody_asked_for_is_not_seen() -> None:
    hidden = torch.randn(B, S, C)
    hidden[0, 0] = 1e38  # the row that −1 is read from
    hidden.requires_grad_()
    head = nn.Linear(C, V)
    loss, _ = gathered_cross_entropy(hidden, torch.tensor([-1, 7]), torch.tensor([0, 3]), head)
    assert loss.isfinite()


def test_means_are_weighted() -> None:
    torch.manual_seed(0)
    hidden, head = torch.randn(B, S, C), nn.Linear(C, V)
    positions, labels = torch.tensor([1, 4, -1, 9]), torch.tensor([2, 0, 0, 5])
    losses, correct = gathered_token_losses(hidden, positions, labels, head)
    weights = torch.tensor([1.0, 0.0, 5.0, 3.0])
    loss, accuracy = gathered_cross_entropy(hidden, positions, labels, head, weights=weights)
    torch.testing.assert_close(loss, (losses[0] + 3 * losses[3]) / 4)
    torch.testing.assert_close(accuracy, (correct[0] + 3.0 * correct[3]) / 4)
    assert losses[2] == 0 and not correct[2]


def test_half_precision_states_give_a_float32_loss() -> None:
    head = nn.Linear(C, V).bfloat16()
    hidden = torch.randn(B, S, C, dtype=torch.bfloat16)
    loss, accuracy = gathered_cross_entropy(hidden, torch.tensor([0, 3]), torch.tensor([1, 1]), head)
    assert loss.dtype == torch.float32 and accuracy.dtype == torch.float32


def test_nothing_is_asked_of_the_host() -> None:
    with torch.device("meta"):
        loss, _ = gathered_cross_entropy(
            torch.zeros(B, S, C), torch.zeros(4, dtype=torch.int64), torch.zeros(4, dtype=torch.int64), nn.Linear(C, V)
        )
    assert loss.shape == ()


def test_shapes_that_do_not_fit() -> None:
    index = torch.zeros(4, dtype=torch.int64)
    with pytest.raises(InputError, match=r"hidden must have shape"):
        gathered_cross_entropy(torch.zeros(C), index, index, nn.Linear(C, V))
    with pytest.raises(InputError, match=r"same length, got \(4,\) and \(3,\)"):
        gathered_cross_entropy(torch.zeros(B, S, C), index, index[:3], nn.Linear(C, V))
