"""The streamed entropy of soft assignments against its dense definition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gptface.ops.vq.entropy import _backward, _forward, assignment_entropy, entropy_regularizer
from tests.helpers.numerics import rmse_ratio
from tests.ops.test_vq_lookup import LargestTensor


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def dense(rows: Tensor, codes: Tensor, usable: Tensor, temperature: float, diversity: float) -> Tensor:
    total = rows.new_zeros(())
    for group in range(rows.shape[0]):
        kept = rows[group][usable[group]]
        p = (-(kept[:, None] - codes[group]).square().sum(-1) / temperature).softmax(-1)
        mean = p.mean(0)
        total = total + torch.special.entr(p).sum(-1).mean() - diversity * torch.special.entr(mean).sum()
    return total / rows.shape[0]


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_equals_the_dense_definition(offset: float) -> None:
    # More rows than one block holds, so that blocks must add up.
    rows, codes = draw(2, 3001, 6, seed=1) + offset, draw(2, 257, 6, seed=2) + offset
    usable = draw(2, 3001, seed=3) > -1
    results = []
    for function, dtype in ((entropy_regularizer, torch.float32), (dense, torch.float32), (dense, torch.float64)):
        x, c = (each.detach().to(dtype).clone().requires_grad_() for each in (rows, codes))
        value = function(x, c, usable, 0.7, 1.3)
        value.backward()
        results.append((value.detach(), x.grad, c.grad))
    for streamed, same_dtype, oracle in zip(*results, strict=True):
        assert rmse_ratio(streamed, oracle) <= max(1e-5, 2 * rmse_ratio(same_dtype, oracle))


def test_rows_left_out_get_no_gradient_whatever_they_hold() -> None:
    rows, codes = draw(1, 10, 3, seed=4), draw(1, 7, 3, seed=5).requires_grad_()
    rows[0, 3] = torch.nan
    rows.requires_grad_()
    usable = torch.ones(1, 10, dtype=torch.bool)
    usable[0, 3] = False
    entropy_regularizer(rows, codes, usable, 1.0, 1.0).backward()
    assert rows.grad[0, 3].eq(0).all() and rows.grad.isfinite().all() and codes.grad.isfinite().all()


def test_gradients() -> None:
    x, codes, bias = (
        tensor.double().requires_grad_()
        for tensor in (draw(2, 5, 3, seed=6), draw(2, 4, 3, seed=7), draw(2, 4, seed=8))
    )
    weight = torch.rand(2, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda *inputs: assignment_entropy(*inputs, weight), (x, codes, bias))
    usable = torch.ones(2, 5, dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda x, c: entropy_regularizer(x, c, usable, 0.5, 2.0), (x, codes))


def test_opcheck() -> None:
    inputs = draw(2, 5, 3, seed=9), draw(2, 4, 3, seed=10), draw(2, 4, seed=11)
    weight = torch.rand(2, 5)
    torch.library.opcheck(
        torch.ops.gptface.assignment_entropy.default, (*(each.requires_grad_() for each in inputs), weight)
    )
    torch.library.opcheck(
        torch.ops.gptface.assignment_entropy_backward.default,
        (torch.rand(2), torch.rand(2, 4), *(each.detach() for each in inputs), weight),
    )


def test_the_matrix_of_probabilities_is_never_stored() -> None:
    x, codes, bias = draw(1, 20_000, 8, seed=12), draw(1, 512, 8, seed=13), draw(1, 512, seed=14)
    weight = torch.full((1, 20_000), 1 / 20_000)
    with LargestTensor() as largest:
        entropy, probabilities = _forward(x, codes, bias, weight)
        _backward(torch.ones_like(entropy), torch.ones_like(probabilities), x, codes, bias, weight)
    assert largest.elements <= 1 << 19


def test_forward_mode_raises_where_it_would_give_a_derivative_of_zero() -> None:
    x, codes, weight = torch.randn(1, 5, 3), torch.randn(1, 4, 3), torch.full((1, 5), 0.2)
    with pytest.raises(RuntimeError, match="no forward-mode derivative"):
        torch.func.jvp(
            lambda rows: assignment_entropy(rows, codes, torch.zeros(1, 4), weight)[0], (x,), (torch.ones_like(x),)
        )
